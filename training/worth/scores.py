"""Kendall's tau of out-of-fold predictions, with intervals over runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]
FOLDS = 5
RESAMPLES = 200


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


def folds(n: int, seed: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Training and held-out positions of each of `FOLDS` folds of n runs."""
    parts = np.array_split(np.random.default_rng(seed).permutation(n), FOLDS)
    for k, held in enumerate(parts):
        yield np.concatenate([part for j, part in enumerate(parts) if j != k]), held


def tau_within(task: NDArray[np.int64], predicted: Array, true: Array) -> float:
    """Mean over tasks of Kendall's tau-b within each; 0 for a task where nothing is ranked."""
    taus = []
    for number in np.unique(task):
        members = task == number
        tau = stats.kendalltau(predicted[members], true[members]).statistic
        taus.append(0.0 if np.isnan(tau) else float(tau))
    return float(np.mean(taus))


def interval(task: NDArray[np.int64], predicted: Array, true: Array, minus: Array | None = None) -> Interval:
    """Tau averaged over seeds, with a bootstrap over runs.

    Args:
        task: (n,).
        predicted: out-of-fold predictions, (seeds, n).
        true: (n,).
        minus: other predictions, (seeds, n); then it is the difference of the two taus, paired.
    """

    def value(rows: NDArray[np.intp]) -> float:
        taus = [tau_within(task[rows], p[rows], true[rows]) for p in predicted]
        others = [] if minus is None else [tau_within(task[rows], p[rows], true[rows]) for p in minus]
        return float(np.mean(taus)) - (float(np.mean(others)) if others else 0.0)

    rng, n = np.random.default_rng(0), len(true)
    drawn = [value(rng.integers(n, size=n)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value(np.arange(n)), float(low), float(high))
