"""`fms-hub recommend`: what to fine-tune and how, before anything is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from fms_hub.cli.leaderboard import BEYOND
from fms_hub.cli.options import (
    Column,
    Data,
    DataRevision,
    Device,
    ImageSize,
    MaxDownload,
    MaxEpochs,
    Metric,
    Names,
    Probe,
    Quiet,
    SkipBad,
    short,
    split_names,
)

if TYPE_CHECKING:
    from fms_hub.search.recommend import Recommendation


def recommend(
    data: Data,
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="A meta-trained one: ORGANISATION/NAME[@REVISION] on the Hub, a folder or a file. "
            "Default: bundled, if one comes with this release."
        ),
    ] = None,
    candidates: Names = None,
    top: Annotated[int, typer.Option(help="Most candidates in the answer.")] = 5,
    probe: Probe = False,
    max_epochs: MaxEpochs = 12,
    metric: Metric = "accuracy",
    seed: Annotated[int, typer.Option(help="Of splits, heads and the sample of configurations.")] = 0,
    device: Device = None,
    image_size: ImageSize = None,
    image_column: Column = None,
    label_column: Column = None,
    revision: DataRevision = None,
    skip_bad: SkipBad = False,
    max_download: MaxDownload = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, best first, on standard output.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Rank candidates and configurations for DATA without training any of them."""
    import fms_hub

    found = fms_hub.recommend(
        data,
        split_names(candidates),
        surrogate=surrogate,
        top=top,
        probe=probe,
        max_epochs=max_epochs,
        metric=metric,
        seed=seed,
        device=device,
        image_size=image_size,
        image_column=image_column,
        label_column=label_column,
        revision=revision,
        skip_bad=skip_bad,
        max_download=max_download,
        progress=not quiet,
    )
    print(json.dumps(found.to_json()) if as_json else table(found))


def table(found: Recommendation) -> str:
    """A line for each candidate; those beyond what meta-training saw are marked."""
    width = max(len("candidate"), *(len(item.candidate) for item in found.advice))
    lines = [f"{'candidate':<{width}}  {found.metric} after {found.epochs} epochs (90 %)  seconds  settings"]
    for item in found.advice:
        score = f"{item.score:.3f} ({item.low:.3f} to {item.high:.3f})"
        settings = ", ".join(f"{name}={short(value)}" for name, value in item.hyperparameters.items())
        mark = " *" if item.outside > 0 else ""
        heading = len(f"{found.metric} after {found.epochs} epochs (90 %)")
        lines.append(f"{item.candidate:<{width}}  {score + mark:<{heading}}  {item.seconds:7.0f}  {settings}")
    if any(item.outside > 0 for item in found.advice):
        lines.append(f"\n{BEYOND}")
    if found.unknown:
        lines.append(f"\nunknown to the surrogate: {', '.join(found.unknown)}")
    return "\n".join(lines)
