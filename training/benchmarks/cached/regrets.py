"""From searches to the rows and targets of the regret table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import TypeVar

import numpy as np

from training.benchmarks.cached.costs import epoch_seconds
from training.benchmarks.cached.report import TableRow, Target
from training.benchmarks.cached.scoring import REGRETS, Curves
from training.benchmarks.cached.searches import Contest, Job, Results
from training.benchmarks.cached.statistics import clustered, ranks, worse
from training.pictures.panels import by_task

SHARES = (0.25, 0.5, 0.75, 1.0)
OURS, CHANCE = "fms", "random"
HALF = 0.5
Reading = Callable[[Curves, Job], float]
Value = TypeVar("Value")


class Table:
    """The searches of a contest as numbers.

    Args:
        contest: what was searched.
        results: of all its searches.
    """

    def __init__(self, contest: Contest, results: Results) -> None:
        self.contest = contest
        self._results = results

    def rows(self) -> list[TableRow]:
        """Regrets at shares of the budget, in epochs and seconds, and mean ranks."""
        shown = [name for name in REGRETS if not self._has_nan(name)]
        found = [
            self._row(name, self._label(share), regret, self._after(regret, share))
            for regret, name, share in product(shown, self._names(), SHARES)
        ]
        found += [
            self._row(name, f"{share:.0%} of the seconds", REGRETS[0], _at_seconds(self, share))
            for name, share in product(self._names(), SHARES)
        ]
        return found + [row for share in SHARES for row in self._ranks(share)]

    def values(self, method: str, reading: Callable[[Curves, Job], Value]) -> dict[str, list[Value]]:
        """Something of each search of a method, by task."""
        return {
            job.task: [reading(self._results[method, job.task, s], job) for s in self.contest.seeds]
            for job in self.contest.jobs
        }

    def at_quarter(self, method: str) -> dict[str, list[float]]:
        """Regret at a quarter of the budget, by task."""
        return self.values(method, self._after(REGRETS[0], SHARES[0]))

    def mean_at_quarter(self, method: str) -> float:
        """The same, mean over tasks and seeds."""
        return float(np.mean([np.mean(v) for v in self.at_quarter(method).values()]))

    def _names(self) -> list[str]:
        return [method.name for method in self.contest.methods]

    def _after(self, regret: str, share: float) -> Reading:
        epochs = max(round(self.contest.budget * share), 1)
        return lambda curves, _: float(curves.named(regret)[epochs - 1])

    def _label(self, share: float) -> str:
        return f"{max(round(self.contest.budget * share), 1)} epochs"

    def _row(self, method: str, at: str, metric: str, reading: Reading) -> TableRow:
        found = clustered(self.values(method, reading))
        return self._named(method, at, metric, found.value, found.low, found.high)

    def _named(self, method: str, at: str, metric: str, mean: float, low: float, high: float) -> TableRow:
        row = next(m for m in self.contest.methods if m.name == method)
        label = f"{row.name}: {row.note}{'; snaps' if row.snaps else ''}"
        n = len(self.contest.jobs) * len(self.contest.seeds)
        return TableRow(label, self.contest.jobs[0].pool.hub, at, metric, mean, low, high, n)

    def _ranks(self, share: float) -> list[TableRow]:
        """Mean ranks over tasks; the interval is half the critical difference to either side."""
        if len(self.contest.methods) < 2:
            return []
        reading = self._after(REGRETS[0], share)
        losses = np.array(
            [[float(np.mean(v)) for v in self.values(name, reading).values()] for name in self._names()]
        ).T
        found = ranks(losses)
        half = found.difference / 2
        metric = f"mean rank of the regret (critical difference {found.difference:.2f}, {found.blocks} tasks)"
        return [
            self._named(name, self._label(share), metric, float(mean), float(mean - half), float(mean + half))
            for name, mean in zip(self._names(), found.mean, strict=True)
        ]

    def _has_nan(self, regret: str) -> bool:
        return any(bool(np.isnan(curves.named(regret)).any()) for curves in self._results.values())


def picture(table: Table) -> str:
    """Mean regret against epochs, over all tasks and on each, as SVG."""
    found = {
        method.name: table.values(method.name, lambda curves, _: curves.named(REGRETS[0]))
        for method in table.contest.methods
    }
    return by_task(f"normalised regret, {table.contest.jobs[0].pool.hub}", found)


def _at_seconds(table: Table, share: float) -> Reading:
    """Regret after a share of the seconds that the budget of epochs takes with runs chosen at random."""
    times = table.contest.times
    mean = {job.task: float(epoch_seconds(job.pool, times).mean()) for job in table.contest.jobs}
    budget = table.contest.budget
    return lambda curves, job: curves.at_seconds(REGRETS[0], share * budget * mean[job.task])


def targets(table: Table) -> list[Target]:
    """What the regret table must show; nothing is measured without our own method."""
    names = [method.name for method in table.contest.methods]
    half = "regret at 25 % of the budget over that of the best of the peers"
    never = "tasks on which we are significantly worse than random"
    peers = [name for name in names if name != OURS]
    ratio, lost = None, None
    if OURS in names and peers:
        best = min(table.mean_at_quarter(name) for name in peers)
        ratio = _ratio(table.mean_at_quarter(OURS), best)
    if OURS in names and CHANCE in names:
        lost = float(len(_lost(table)))
    return [
        Target(half, HALF, ratio, ratio is not None and ratio <= HALF),
        Target(never, 0.0, lost, lost is not None and lost == 0),
    ]


def _lost(table: Table) -> Sequence[str]:
    return worse(table.at_quarter(OURS), table.at_quarter(CHANCE))


def _ratio(ours: float, best: float) -> float:
    """1 where neither regrets anything, a large number where only we do."""
    return 1.0 if ours == best == 0 else ours / max(best, 1e-9)
