"""`fms-hub import`: runs that another program logged, as a logbook that a search can start from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fms_hub.cli.options import Json
from fms_hub.errors import UsageError

if TYPE_CHECKING:
    from fms_hub.hub.importers.log import Imported


def import_runs(
    source: Annotated[
        str, typer.Argument(help="File or folder of finished runs; for optuna also the URL of a storage.")
    ],
    format: Annotated[
        Literal["trainer", "timm", "optuna", "csv"],
        typer.Option(help="Of SOURCE: Hugging Face Trainer, timm's training script, Optuna, a table."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the new logbook, for --warm-start.")],
    candidate: Annotated[
        str | None, typer.Option(help="What was trained, named as in a search, where SOURCE does not say.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="csv, optuna: our names=theirs, e.g. run=id,epoch=ep,score=acc,learning_rate=lr."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Key or column of the score. Default: the accuracy of the format.")
    ] = None,
    percent: Annotated[bool, typer.Option("--percent", help="Scores are percentages.")] = False,
    study: Annotated[str | None, typer.Option(help="optuna: name of the study.")] = None,
    about: Annotated[
        Path | None,
        typer.Option(help="The --out folder of a search over the same data; needed to contribute the runs."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import finished runs from SOURCE, so that a search can start from what they show."""
    from fms_hub.hub.importers.log import import_log

    found = import_log(
        source,
        format,
        out=out,
        candidate=candidate,
        columns=None if columns is None else parse_columns(columns),
        metric=metric,
        percent=percent,
        study=study,
        about=about,
    )
    for notice in found.notices:
        print(f"notice: {notice}", file=sys.stderr)
    print(json.dumps(found.to_json()) if as_json else _told(found))


def parse_columns(text: str) -> dict[str, str]:
    """Read ``"run=id,epoch=ep"``: our names -> theirs.

    Raises:
        UsageError: a part is no pair, or a name comes twice.
    """
    columns: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (piece.strip() for piece in part.partition("="))
        if not (ours and equals and theirs) or ours in columns:
            raise UsageError(
                f"--columns reads like run=id,epoch=ep,score=acc, each name once; found {part.strip()!r}."
            )
        columns[ours] = theirs
    return columns


def _told(found: Imported) -> str:
    best = "-" if found.best is None else f"{found.best:.4f}"
    return "\n".join(
        [
            f"runs        {found.runs}, {found.failed} of them failed",
            f"epochs      {found.epochs}",
            f"candidates  {', '.join(found.candidates)}",
            f"settings    {', '.join(found.hyperparameters) or '-'}",
            f"best        {best} {found.metric or ''}".rstrip(),
            f"out         {found.folder}",
        ]
    )
