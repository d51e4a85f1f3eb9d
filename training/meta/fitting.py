"""One surrogate from the pools of some tasks: how long to train and how sure to be is found out inside them.

Groups of tasks are left out in turn. When each of these trainings was best says how long the last one, on
all tasks, goes on; how far each was off on its own group, in units of its deviation, says by how much all
deviations are to be widened. Nothing outside the given pools is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.surrogate.learned import Range
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.pooling import POOLED
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import Splits
from training.corpus.tasks import dataset
from training.meta.table import Table, table_of
from training.meta.train import CHECK_EVERY, Outcome, Settings, deviations, meta_train

ARCHITECTURE = tuple(number for number, name in enumerate(POOLED) if name.startswith("global_"))
"""Columns of a pooled weight graph that say what the network looks like."""
INNER = 3
"""Most groups that are left out in turn."""
COVERAGE, QUANTILE = 0.9, 1.645
"""Deviations are widened until so large a share of scores lies within so many of them."""


@dataclass(frozen=True)
class Fitted:
    """A meta-trained surrogate and how it came about.

    Attributes:
        surrogate: without observations.
        steps: of the last training.
        widened: factor on all deviations.
        validation: loss by step of each inner training, by the groups left out, nats a query.
    """

    surrogate: Surrogate
    steps: int
    widened: float
    validation: Mapping[str, tuple[tuple[int, float], ...]]


def fit(
    name: str,
    pools: Sequence[Pool],
    splits: Splits,
    settings: Settings,
    report: Callable[[str, int, float], None] = lambda stage, step, loss: None,
) -> Fitted:
    """Meta-train on the pools.

    Args:
        name: of the surrogate.
        pools: of at least two groups of tasks.
        splits: say which tasks form a group.
        settings: most steps, and the seed.
        report: told the stage, step and loss of every look.

    Raises:
        UsageError: all tasks are of one group, or the pools are of different search spaces.
    """
    if len({pool.space.columns for pool in pools}) > 1:
        hubs = ", ".join(sorted({pool.hub for pool in pools}))
        raise UsageError(f"the hubs {hubs} have different hyperparameters; meta-train on each by itself.")
    groups: dict[str, list[Table]] = {}
    for pool in pools:
        # Tasks that were contributed are in no split; their rows say which belong together.
        group = splits.group.get(dataset(pool.task.name), pool.task.group)
        groups.setdefault(group, []).append(table_of(pool))
    if len(groups) < 2:
        raise UsageError(
            f"meta-training needs tasks of at least two groups, found {', '.join(groups) or 'none'}; "
            "add runs on other tasks."
        )
    inner: dict[str, Outcome] = {}
    off: list[NDArray[np.float64]] = []
    for group in _chosen(sorted(groups), settings.seed):
        rest = [table for other, tables in groups.items() if other != group for table in tables]
        inner[group] = meta_train(rest, groups[group], settings, partial(report, group))
        off.append(deviations(inner[group], groups[group]))
    steps = max(CHECK_EVERY, int(np.median([outcome.step for outcome in inner.values()])))
    everything = [table for tables in groups.values() for table in tables]
    last = meta_train(everything, [], settings.of(steps), partial(report, "all"))
    factor = float(np.mean([np.quantile(np.abs(z), COVERAGE) for z in off]) / QUANTILE)
    last.model.widen(factor)
    seen = Range.of(np.vstack([table.inputs.weights for table in everything]), ARCHITECTURE)
    learned = last.model.learned(pools[0].space.columns, last.scaling, seen)
    validation = {group: outcome.validation for group, outcome in inner.items()}
    return Fitted(Surrogate(name, learned), steps, factor, validation)


def _chosen(groups: Sequence[str], seed: int) -> list[str]:
    order = np.random.default_rng(seed).permutation(len(groups))
    return [groups[number] for number in order[: min(INNER, len(groups))]]
