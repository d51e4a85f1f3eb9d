"""`fms-hub recommend`: what to fine-tune and how, before anything is trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fms_hub.search.recommend import Recommendation


def recommend(
    data: Annotated[str, typer.Argument(help="Folder of class folders, Hub dataset id, or 'digits'.")],
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="A meta-trained one: ORGANISATION/NAME[@REVISION] on the Hub, a folder or a file. "
            "Default: bundled, if one comes with this release."
        ),
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidates",
            "-c",
            help="timm or Hugging Face ids, patterns, local-dir:PATH, scratch:ARCHITECTURE; "
            "repeat it or separate by commas. Default: the bundled checkpoints.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Most candidates in the answer.")] = 5,
    probe: Annotated[
        bool, typer.Option("--probe", help="Look at every candidate's features of some images first.")
    ] = False,
    max_epochs: Annotated[int, typer.Option(help="Epochs of a full run.")] = 12,
    metric: Annotated[str, typer.Option(help="accuracy, balanced_accuracy or macro_f1.")] = "accuracy",
    seed: Annotated[int, typer.Option(help="Of splits, heads and the sample of configurations.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... Default: a GPU if any.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels. Default: each candidate's own.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Of a datasets table.")] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a datasets table.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of a Hub dataset.")] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images.")] = False,
    max_download: Annotated[
        str | None, typer.Option(help="Most weights to fetch from the Hub, e.g. 500MB.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, best first, on standard output.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Rank candidates and configurations for DATA without training any of them."""
    import fms_hub

    names = [name for item in candidates or [] for name in item.split(",") if name]
    found = fms_hub.recommend(
        data,
        names or None,
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
        settings = ", ".join(f"{name}={_short(value)}" for name, value in item.hyperparameters.items())
        mark = " *" if item.outside > 0 else ""
        heading = len(f"{found.metric} after {found.epochs} epochs (90 %)")
        lines.append(f"{item.candidate:<{width}}  {score + mark:<{heading}}  {item.seconds:7.0f}  {settings}")
    if any(item.outside > 0 for item in found.advice):
        lines.append("\n* beyond the architectures that the surrogate was trained on: its interval is wider")
    if found.unknown:
        lines.append(f"\nunknown to the surrogate: {', '.join(found.unknown)}")
    return "\n".join(lines)


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
