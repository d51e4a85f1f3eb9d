"""Outcomes of searches with and without generated proposals, and their rows in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fms_hub.records import Observation
from fms_hub.search.generator import Proposals
from training.benchmarks.against_random import interval
from training.benchmarks.cached.report import TableRow

METRICS = {
    "half": "best validation accuracy half way",
    "best": "best validation accuracy",
    "test": "test accuracy of the winner",
    "runs": "runs started",
    "overhead": "seconds a step besides training",
}


@dataclass(frozen=True)
class Outcome:
    """Of one search.

    Attributes:
        half, best: best validation accuracy after half of its epochs and all.
        runs: that were started.
        overhead: mean seconds a step besides training.
        test: accuracy of the winner; None where there is no test split.
    """

    half: float
    best: float
    runs: float
    overhead: float
    test: float | None = None

    @classmethod
    def of(cls, history: Sequence[Observation], test: float | None = None) -> Outcome:
        """From all observations of a search."""
        scores = [o.score or 0.0 for o in history]
        return cls(
            half=max(scores[: max(1, len(scores) // 2)]),
            best=max(scores),
            runs=float(len({o.run for o in history})),
            overhead=sum(o.overhead for o in history) / len(history),
            test=test,
        )


def rows(outcomes: Mapping[Proposals, Sequence[Outcome]], data: str, epochs: int) -> list[TableRow]:
    """Means over seeds for each way to propose, and of their paired difference."""
    found = []
    for field, metric in METRICS.items():
        columns: dict[str, list[float]] = {}
        for proposals, of in outcomes.items():
            columns[proposals] = [value for o in of if (value := getattr(o, field)) is not None]
        if not columns["local"]:
            continue
        pairs = zip(columns["gflownet"], columns["local"], strict=True)
        columns["gflownet minus local"] = [a - b for a, b in pairs]
        for name, values in columns.items():
            mean, low, high = interval(values)
            found.append(TableRow(name, data, f"{epochs} epochs", metric, mean, low, high, len(values)))
    return found
