"""`fms-hub importance`: what mattered in a search."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fms_hub.cli.options import Json, Logs

if TYPE_CHECKING:
    from fms_hub.search.importance import Importance

_WIDTH = 40
"""Characters of the longest bar there can be."""


def importance(
    folder: Logs,
    seed: Annotated[int, typer.Option(help="Of the random forest that shares are read from.")] = 0,
    as_json: Json = False,
) -> None:
    """Tell how much each hyperparameter and the choice of the candidate mattered to the scores."""
    from fms_hub.search.importance import importance_of

    found = importance_of(folder, seed=seed)
    print(json.dumps(asdict(found)) if as_json else _table(found))


def _table(found: Importance) -> str:
    width = max(map(len, found.shares))
    lines = [f"shares of the variance of {found.runs} runs' best scores"]
    lines += [
        f"  {name:<{width}}  {share:.2f}  {'#' * round(_WIDTH * share)}".rstrip()
        for name, share in found.shares.items()
    ]
    if found.left_out:
        lines.append(f"not every run had {', '.join(found.left_out)}")
    return "\n".join(lines)
