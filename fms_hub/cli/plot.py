"""`fms-hub plot`: a search to look at."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fms_hub.cli.options import Json, Logs


def plot(
    folder: Logs,
    out: Annotated[
        Path | None, typer.Option(help="Page to write. Default: search.html in the folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw what a search trained and how its runs went on, as a page for the browser."""
    from fms_hub.hub.logbook import read_history
    from fms_hub.search.plot import FILE_NAME, write_plot

    history = read_history(folder)
    page = write_plot(history, folder / FILE_NAME if out is None else out)
    told = {"page": str(page), "runs": len({o.run for o in history}), "epochs": len(history)}
    print(json.dumps(told) if as_json else told["page"])
