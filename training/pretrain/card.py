"""The card of the bundled checkpoints, written from their index: `python -m training.pretrain.card`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fms_hub.models import bundle
from fms_hub.models.bundle import BundledCheckpoint

_HEAD = """\
# The bundled checkpoints

<!-- Written by `python -m training.pretrain.card --out model_cards/bundled.md`; do not edit by hand. -->

Small timm networks that come with the package, so that a search runs without a network connection:
{count} checkpoints of {families} timm architectures, {parameters:.1f} million parameters, {megabytes:.1f} MB.
They were trained from random initialisation on {size} x {size} pixels with seed {seed}, on one processor
core. Kernels and matrices are stored as float16, the rest as float32. Each folder opens with
`timm.create_model("local-dir:FOLDER", pretrained=True)`.

They differ in quality on purpose, because a search has to tell good candidates from bad ones: some are well
trained, one is undertrained, and one is randomly initialised, as the control. None of them knows
photographs, and the one of chest x-rays is no medical device.

Accuracy is measured on the test images of the source data, which nothing was chosen by, with the weights as
they are shipped. The control was measured on MNIST, of which it has seen nothing.

"""


def card(entries: Sequence[BundledCheckpoint], sizes: Sequence[int]) -> str:
    """The card as Markdown.

    Args:
        entries: the checkpoints, at least one.
        sizes: of their weight files, in bytes.
    """
    head = _HEAD.format(
        count=len(entries),
        families=len({entry.architecture for entry in entries}),
        parameters=sum(entry.parameters for entry in entries) / 1e6,
        megabytes=sum(sizes) / 1e6,
        size=" / ".join(sorted({str(entry.image_size) for entry in entries})),
        seed=", ".join(sorted({str(entry.seed) for entry in entries})),
    )
    quality = ["checkpoint", "parameters", "classes", "epochs", "test accuracy", "kB"]
    rows = [
        (
            f"`{e.name}`",
            f"{e.parameters:,}",
            str(e.classes),
            str(e.epochs),
            f"{e.accuracy:.3f}",
            str(round(s / 1e3)),
        )
        for e, s in zip(entries, sizes, strict=True)
    ]
    origin = [(f"`{e.name}`", e.data, e.licence, f"`{e.command}`", f"`{e.sha256[:16]}`") for e in entries]
    return "\n".join(
        [
            head,
            *_table(quality, rows),
            "",
            "## Where they come from",
            "",
            *_table(["checkpoint", "data", "licence of the data", "command", "sha256"], origin),
            "",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def main() -> None:
    """Parse the command line and write the card."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain.card", description=__doc__)
    parser.add_argument("--bundle", type=Path, default=bundle.ROOT)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    entries = bundle.read_index(arguments.bundle)
    sizes = [(arguments.bundle / entry.file).stat().st_size for entry in entries]
    arguments.out.write_text(card(entries, sizes), encoding="utf-8")


if __name__ == "__main__":
    main()
