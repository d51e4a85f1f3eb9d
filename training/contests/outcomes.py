"""Outcomes of searches, and their rows in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from fms_hub.records import Observation
from training.benchmarks.against_random import interval
from training.benchmarks.cached.report import TableRow

METRICS = {
    "half": "best validation accuracy half way",
    "best": "best validation accuracy",
    "test": "test accuracy of the winner",
    "runs": "runs started",
    "forks": "runs that went on from another's checkpoint",
    "overhead": "seconds a step besides training",
}


@dataclass(frozen=True)
class Outcome:
    """Of one search.

    Attributes:
        half, best: best validation accuracy after half of its epochs and all.
        runs: that were started.
        forks: how many of them went on from another's checkpoint.
        overhead: mean seconds a step besides training.
        test: accuracy of the winner; None where there is no test split.
    """

    half: float
    best: float
    runs: float
    forks: float
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
            forks=float(len({o.run for o in history if o.parent is not None})),
            overhead=sum(o.overhead for o in history) / len(history),
            test=test,
        )


def best_so_far(history: Sequence[Observation]) -> list[tuple[float, float]]:
    """Epochs of the search, from 1, and the best validation accuracy until then."""
    best = accumulate((o.score or 0.0 for o in history), max)
    return [(float(epochs), score) for epochs, score in enumerate(best, 1)]


def rows(outcomes: Mapping[str, Sequence[Outcome]], data: str, epochs: int) -> list[TableRow]:
    """Means over seeds for each arm, and of each one's paired difference from the first."""
    base, *others = outcomes
    found = []
    for field, metric in METRICS.items():
        columns: dict[str, list[float]] = {}
        for name, of in outcomes.items():
            columns[name] = [value for o in of if (value := getattr(o, field)) is not None]
        if not any(any(values) for values in columns.values()):
            continue  # no test split, or no forks
        for name in others:
            pairs = zip(columns[name], columns[base], strict=True)
            columns[f"{name} minus {base}"] = [a - b for a, b in pairs]
        for name, values in columns.items():
            mean, low, high = interval(values)
            found.append(TableRow(name, data, f"{epochs} epochs", metric, mean, low, high, len(values)))
    return found
