"""Intervals, ranks and rank correlations for tables of searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.report import TableRow
from training.worth.scores import Interval

Vector = NDArray[np.float64]
RESAMPLES = 2000
LEVEL = 0.95
LEAST_REPEATS = 5
"""A task with fewer repeated configurations borrows the noise of all tasks."""


def clustered(values: Mapping[str, Sequence[float]], seed: int = 0) -> Interval:
    """Mean over tasks of the mean over seeds, with a 95 % bootstrap interval clustered by task.

    Tasks are drawn with replacement, then seeds within each drawn task (two-stage bootstrap, Davison and
    Hinkley 1997). For a paired comparison give differences.

    Args:
        values: by task, one a seed; at least one task with at least one value.
        seed: of the bootstrap.

    Raises:
        ValueError: there is nothing to average, or a value is not finite.
    """
    arrays = [np.asarray(scores, dtype=np.float64) for scores in values.values()]
    if not arrays or any(not len(a) or not np.isfinite(a).all() for a in arrays):
        raise ValueError("an interval needs finite values of at least one task, and at least one of each.")
    sizes = np.array([len(a) for a in arrays])
    padded = np.zeros((len(arrays), int(sizes.max())))
    for row, scores in zip(padded, arrays, strict=True):
        row[: len(scores)] = scores
    rng = np.random.default_rng(seed)
    tasks = rng.integers(len(arrays), size=(RESAMPLES, len(arrays)))
    seeds = rng.integers(sizes[tasks][..., None], size=(*tasks.shape, padded.shape[1]))
    counted = np.arange(padded.shape[1]) < sizes[tasks][..., None]
    means = (padded[tasks[..., None], seeds] * counted).sum(2) / sizes[tasks]
    return _interval(float(np.mean([a.mean() for a in arrays])), means.mean(1))


def clustered_row(
    method: str, hub: str, at: str, metric: str, values: Mapping[str, Sequence[float]]
) -> TableRow:
    """A row of a table: `clustered` of the values, and how many they are."""
    found = clustered(values)
    n = sum(len(scores) for scores in values.values())
    return TableRow(method, hub, at, metric, found.value, found.low, found.high, n)


def _interval(value: float, drawn: Vector) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


@dataclass(frozen=True)
class Ranks:
    """Friedman ranks.

    Attributes:
        mean: mean rank of each method over blocks, 1 is best; equals share their ranks.
        difference: two mean ranks further apart than this differ at the 5 % level.
        blocks: how many there are.
    """

    mean: Vector
    difference: float
    blocks: int


def ranks(losses: Vector) -> Ranks:
    """Mean ranks with Nemenyi's critical difference q sqrt(k (k + 1) / (6 N)) (Demsar 2006, section 3.2.2).

    q is the 95 % point of the studentised range of k methods at infinite degrees of freedom, over sqrt 2.

    Args:
        losses: (N blocks, k methods), lower is better. Blocks are tasks, with the mean over seeds, because
            seeds of one task are not independent of each other.

    Raises:
        ValueError: fewer than two methods, no block, or NaN.
    """
    blocks, methods = losses.shape
    if methods < 2 or blocks < 1 or np.isnan(losses).any():
        raise ValueError(f"ranks need at least two methods and one block without NaN, found {losses.shape}.")
    mean = stats.rankdata(losses, axis=1).mean(0)
    q = float(stats.studentized_range.ppf(LEVEL, methods, np.inf)) / np.sqrt(2)
    return Ranks(mean, float(q * np.sqrt(methods * (methods + 1) / (6 * blocks))), blocks)


def kendall(predicted: Vector, true: Vector) -> float:
    """Kendall's tau-b of two aligned score vectors (n,), never of lists of positions; 0 if one is constant.

    Raises:
        ValueError: the lengths differ or are below 2, or a value is not finite.
    """
    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) < 2:
        raise ValueError(f"expected two aligned vectors, found shapes {predicted.shape} and {true.shape}.")
    if not (np.isfinite(predicted).all() and np.isfinite(true).all()):
        raise ValueError("scores to rank must be finite.")
    tau = float(stats.kendalltau(predicted, true).statistic)
    return 0.0 if np.isnan(tau) else tau


@dataclass(frozen=True)
class Repeated:
    """What a noise ceiling is estimated from, for one task.

    Attributes:
        finals: final scores of the runs that are ranked, (n,), one seed each.
        repeats: final scores of configurations with several seeds, each at least two.
    """

    finals: Vector
    repeats: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, pool: Pool) -> Repeated:
        """Of a pool, without configurations of three seeds or more: those were chosen for being the best."""
        return cls(pool.finals(), tuple(scores for scores in pool.repeats.values() if len(scores) == 2))


def noise_ceiling(tasks: Mapping[str, Repeated], seed: int = 0, resamples: int = 200) -> Interval:
    """Kendall's tau that a perfect predictor of expected scores would reach against scores of one seed.

    Estimator, for each task, then averaged over tasks. A final score is y = m + e: m the configuration's
    expectation over seeds, e the seed's chance. The variance of e is the pooled variance within repeats; m is
    y drawn to its mean by sqrt(1 - var e / var y), so that it has the variance that is left. Each
    configuration then gets a residual at random from those of the `LEAST_REPEATS` repeated configurations
    whose mean is nearest to m, since noise depends on the level (scaled by sqrt(s / (s - 1)), s the number
    of seeds, because residuals around a mean of s are too small), with a random sign. The ceiling is the
    mean of tau(m, m + e) over draws. For normal m and e it tends to 2 / pi asin(sqrt(1 - var e / var y))
    (Greiner's relation).

    A task with fewer than `LEAST_REPEATS` repeated configurations takes the residuals of all tasks. Do not
    count configurations that were repeated because they are the best: their noise is that of the top alone.

    The interval is a bootstrap over tasks, then over runs and over repeats within each.

    Args:
        tasks: by name.
        seed: of draws and bootstrap.
        resamples: of the bootstrap.

    Raises:
        ValueError: no configuration is repeated.
    """
    everything = [scores for task in tasks.values() for scores in task.repeats]
    if not everything:
        raise ValueError("a noise ceiling needs configurations that were run with at least two seeds.")
    own = {
        name: Repeated(task.finals, task.repeats if len(task.repeats) >= LEAST_REPEATS else tuple(everything))
        for name, task in tasks.items()
    }
    rng = np.random.default_rng(seed)
    value = float(np.mean([_ceiling(task, rng, draws=50) for task in own.values()]))
    members = list(own.values())
    drawn = []
    for _ in range(resamples):
        chosen = [members[index] for index in rng.integers(len(members), size=len(members))]
        drawn.append(np.mean([_ceiling(_resampled(task, rng), rng, draws=1) for task in chosen]))
    return _interval(value, np.array(drawn))


def between_seeds(tasks: Mapping[str, Repeated], seed: int = 0) -> Interval:
    """Kendall's tau between the first two seeds of repeated configurations, mean over tasks with enough.

    Two noisy orders agree less than a perfect prediction with one of them, so this lies below
    `noise_ceiling`.

    Raises:
        ValueError: no task has `LEAST_REPEATS` repeated configurations.
    """
    pairs = [np.array([scores[:2] for scores in t.repeats]) for t in tasks.values()]
    enough = [p for p in pairs if len(p) >= LEAST_REPEATS]
    if not enough:
        raise ValueError(f"no task has {LEAST_REPEATS} configurations with two seeds.")
    rng = np.random.default_rng(seed)

    def resampled() -> float:
        chosen = [enough[index] for index in rng.integers(len(enough), size=len(enough))]
        return _mean_tau([p[rng.integers(len(p), size=len(p))] for p in chosen])

    return _interval(_mean_tau(enough), np.array([resampled() for _ in range(RESAMPLES // 4)]))


def _mean_tau(pairs: Sequence[Vector]) -> float:
    return float(np.mean([kendall(p[:, 0], p[:, 1]) for p in pairs]))


def _ceiling(task: Repeated, rng: np.random.Generator, draws: int) -> float:
    means, residuals, variance = _noise(task.repeats)
    y = task.finals
    total = float(y.var())
    share = max(1.0 - variance / total, 0.0) if total > 0 else 0.0
    m = y.mean() + np.sqrt(share) * (y - y.mean())
    nearest = np.argsort(np.abs(m[:, None] - means[None]), axis=1)[:, :LEAST_REPEATS]
    taus = []
    for _ in range(draws):
        chosen = nearest[np.arange(len(m)), rng.integers(nearest.shape[1], size=len(m))]
        drawn = [residuals[index][rng.integers(len(residuals[index]))] for index in chosen]
        e = np.array(drawn) * rng.choice([-1.0, 1.0], len(m))
        taus.append(kendall(m, m + e))
    return float(np.mean(taus))


def _noise(repeats: Sequence[Sequence[float]]) -> tuple[Vector, list[Vector], float]:
    """Mean of each repeated configuration, its residuals at full size, and their pooled variance."""
    arrays = [np.array(scores) for scores in repeats]
    residuals = [(a - a.mean()) * np.sqrt(len(a) / (len(a) - 1)) for a in arrays]
    degrees = sum(len(a) - 1 for a in arrays)
    pooled = sum(float(((a - a.mean()) ** 2).sum()) for a in arrays) / degrees
    return np.array([a.mean() for a in arrays]), residuals, pooled


def _resampled(task: Repeated, rng: np.random.Generator) -> Repeated:
    finals = task.finals[rng.integers(len(task.finals), size=len(task.finals))]
    drawn = rng.integers(len(task.repeats), size=len(task.repeats))
    return Repeated(finals, tuple(task.repeats[index] for index in drawn))


def worse(losses: Mapping[str, Sequence[float]], than: Mapping[str, Sequence[float]]) -> list[str]:
    """Tasks on which losses are significantly higher, by Welch's t of the seeds at 5 %, one-sided.

    Holm's correction over the tasks keeps the chance of any false one at 5 %.
    """
    return _holm({task: _p_greater(losses[task], than[task]) for task in losses})


def _p_greater(a: Sequence[float], b: Sequence[float]) -> float:
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return 0.0 if a[0] > b[0] else 1.0
    return float(stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)


def _holm(values: Mapping[str, float], test: Callable[[float], bool] = lambda p: p < 1 - LEVEL) -> list[str]:
    found = []
    for position, (name, p) in enumerate(sorted(values.items(), key=lambda item: item[1])):
        if not test(p * (len(values) - position)):
            break
        found.append(name)
    return sorted(found)
