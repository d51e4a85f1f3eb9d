"""Arguments and options that several commands have, and how numbers are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Data = Annotated[str, typer.Argument(help="Folder of class folders, Hub dataset id, or 'digits'.")]
Names = Annotated[
    list[str] | None,
    typer.Option(
        "--candidates",
        "-c",
        help="timm or Hugging Face ids, patterns, local-dir:PATH, scratch:ARCHITECTURE; "
        "repeat it or separate by commas. Default: the bundled checkpoints.",
    ),
]
Logs = Annotated[Path, typer.Argument(help="Folder of a search (its --out), or of imported runs.")]
MaxEpochs = Annotated[int, typer.Option(help="Epochs of a full run.")]
Metric = Annotated[str, typer.Option(help="accuracy, balanced_accuracy or macro_f1.")]
Probe = Annotated[
    bool, typer.Option("--probe", help="Look at every candidate's features of some images first.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 ... Default: a GPU if any.")]
ImageSize = Annotated[int | None, typer.Option(help="Pixels. Default: each candidate's own.")]
Column = Annotated[str | None, typer.Option(help="Of a datasets table.")]
DataRevision = Annotated[str | None, typer.Option(help="Of a Hub dataset.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out unreadable images.")]
MaxDownload = Annotated[str | None, typer.Option(help="Most weights to fetch from the Hub, e.g. 500MB.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")]


def split_names(given: list[str] | None) -> list[str] | None:
    """The names of repeated options, each with names separated by commas; None where there is none."""
    return [name for item in given or [] for name in item.split(",") if name] or None


def short(value: object) -> str:
    """A setting as tables show it: numbers with three digits that say something."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
