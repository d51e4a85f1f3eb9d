"""Kendall's tau of out-of-fold predictions, with intervals over runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    return _Ranking(task, predicted, true).tau(np.ones(len(true)))


def interval(task: NDArray[np.int64], predicted: Array, true: Array, minus: Array | None = None) -> Interval:
    """Tau averaged over seeds, with a bootstrap over runs.

    Args:
        task: (n,).
        predicted: out-of-fold predictions, (seeds, n).
        true: (n,).
        minus: other predictions, (seeds, n); then it is the difference of the two taus, paired.
    """
    first = [_Ranking(task, p, true) for p in predicted]
    second = [] if minus is None else [_Ranking(task, p, true) for p in minus]

    def value(times: Array) -> float:
        difference = sum(r.tau(times) for r in first) / len(first)
        return difference - (sum(r.tau(times) for r in second) / len(second) if second else 0.0)

    rng, n = np.random.default_rng(0), len(true)
    drawn = [
        value(np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)) for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(value(np.ones(n)), float(low), float(high))


class _Ranking:
    """The order of all pairs within each task, ready for any number of resamples.

    tau-b = sum of s t / sqrt(sum of s^2 * sum of t^2) over pairs, s and t the signs of the predicted and
    the true difference; a pair of runs that were drawn k and l times counts k l times.
    """

    def __init__(self, task: NDArray[np.int64], predicted: Array, true: Array) -> None:
        self.members = [np.flatnonzero(task == number) for number in np.unique(task)]
        self.signs = [(_signs(predicted[m]), _signs(true[m])) for m in self.members]

    def tau(self, times: Array) -> float:
        """Mean tau where each run was drawn so many times, (n,)."""
        taus = []
        for members, (s, t) in zip(self.members, self.signs, strict=True):
            k = times[members].astype(np.float32)
            both, first, second = (float(k @ (matrix @ k)) for matrix in (s * t, abs(s), abs(t)))
            taus.append(both / (first * second) ** 0.5 if first > 0 and second > 0 else 0.0)
        return float(np.mean(taus))


def _signs(values: Array) -> NDArray[np.float32]:
    signs: NDArray[np.float32] = np.sign(values[:, None] - values[None]).astype(np.float32)
    return signs
