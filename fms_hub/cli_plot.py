"""`fms-hub plot`: a search to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def plot(
    folder: Annotated[Path, typer.Argument(help="Of a search (its --out), or of imported runs.")],
    out: Annotated[
        Path | None, typer.Option(help="Page to write. Default: search.html in the folder.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object on standard output.")
    ] = False,
) -> None:
    """Draw what a search trained and how its runs went on, as a page for the browser."""
    from fms_hub.hub.logbook import read_history
    from fms_hub.search.plot import FILE_NAME, write_plot

    history = read_history(folder)
    page = write_plot(history, folder / FILE_NAME if out is None else out)
    told = {"page": str(page), "runs": len({o.run for o in history}), "epochs": len(history)}
    print(json.dumps(told) if as_json else told["page"])
