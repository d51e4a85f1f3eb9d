"""`fms-hub contribute`: what a search learned, given back; a dry run without --yes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fms_hub.errors import UsageError


def contribute(
    folder: Annotated[
        Path | None, typer.Argument(help="The --out folder of a search.", show_default=False)
    ] = None,
    repo: Annotated[str | None, typer.Option(help="Dataset repository that takes contributions.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Open the pull request; without it nothing is sent.")
    ] = False,
    flush: Annotated[bool, typer.Option("--flush", help="Send what waits in the outbox.")] = False,
    no_sketches: Annotated[
        bool, typer.Option("--no-sketches", help="Leave out the sketches of checkpoints.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: one object; a list of them for --flush alone.")
    ] = False,
) -> None:
    """Give what the search in FOLDER learned to a corpus on the Hub; --yes sends it as a pull request."""
    if folder is None and not flush:
        raise UsageError("expected the folder of a search, or --flush; found neither.")
    if folder is not None and repo is None:
        raise UsageError("expected --repo ORGANISATION/NAME, the dataset repository that is to get it.")
    given = folder is None or repo is None or _give(folder, repo, yes, not no_sketches, as_json)
    flushed = not flush or _flush(as_json and folder is None)
    if not (given and flushed):
        raise typer.Exit(1)


def _give(folder: Path, repo: str, yes: bool, sketches: bool, as_json: bool) -> bool:
    """Whether all went as it was asked for."""
    from fms_hub.corpus.contribute import contribute as give

    found = give(folder, repo, yes=yes, weights_sketches=sketches)
    if as_json:
        print(json.dumps(found.to_json()))
    elif found.sent:
        print(f"sent: {found.pull_request}")
    else:
        print("not sent: it waits in the outbox" if yes else "nothing was sent; --yes opens the pull request")
    return found.sent or not yes


def _flush(as_json: bool) -> bool:
    """Whether nothing is left in the outbox that could have been sent."""
    from fms_hub.corpus.contribute import flush

    done = flush()
    if as_json:
        print(json.dumps([item.to_json() for item in done]))
    for item in done:
        told = (
            f"sent: {item.pull_request}" if item.why is None else f"contribution {item.id} stays: {item.why}"
        )
        print(told, file=sys.stderr)
    return all(item.why is None for item in done)
