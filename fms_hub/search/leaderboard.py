"""The runs of a search as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fms_hub.records import Observation


def leaderboard(history: Sequence[Observation]) -> pd.DataFrame:
    """One row per run: its best score, the epochs it had, its seconds, and whether it failed.

    Where there are forks, ``parent`` says whose checkpoint each went on from, as ``RUN@EPOCH``.
    """
    runs: dict[int, list[Observation]] = {}
    for observation in history:
        runs.setdefault(observation.run, []).append(observation)
    forked = any(o.parent is not None for o in history)
    rows = [
        {
            "run": run,
            "candidate": curve[0].candidate,
            "hyperparameters": dict(curve[0].hyperparameters),
            "score": max((o.score for o in curve if o.score is not None), default=None),
            "epochs": len(curve),
            "seconds": sum(o.seconds for o in curve),
            **({"parent": _origin(curve[0])} if forked else {}),
            "status": curve[-1].status if curve[-1].reason is None else f"failed: {curve[-1].reason}",
        }
        for run, curve in runs.items()
    ]
    table = pd.DataFrame(rows).set_index("run")
    return table.sort_values("score", ascending=False, na_position="last", kind="stable")


def _origin(observation: Observation) -> str | None:
    parent = observation.parent
    return None if parent is None else f"{parent.run}@{parent.epoch}"
