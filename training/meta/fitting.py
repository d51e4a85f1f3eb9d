"""One surrogate from the pools of some tasks: a forest, and a process over what it leaves over.

Groups of tasks are left out in turn: the process learns from what forests say of groups they have not seen,
and how far processes are off on groups they have not learned from says by how much all deviations are to be
widened. Nothing outside the given pools is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fms_hub.errors import UsageError
from fms_hub.surrogate.learned import READ, Learned, Range, forest_columns, residual_groups
from fms_hub.surrogate.scaling import Scaling
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.pooling import POOLED
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import Splits
from training.corpus.tasks import dataset
from training.meta.prior import fit_forest
from training.meta.table import Table, table_of
from training.meta.train import Lesson, Settings, deviations, learn, scaling_of, widen

ARCHITECTURE = tuple(number for number, name in enumerate(POOLED) if name.startswith("global_"))
"""Columns of a pooled weight graph that say what the network looks like."""
COVERAGE, QUANTILE = 0.9, 1.645
"""Deviations are widened until so large a share of scores lies within so many of them."""
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Fitted:
    """A meta-trained surrogate and how it came about.

    Attributes:
        surrogate: without observations.
        widened: factor on all deviations.
        off: share of scores within `QUANTILE` deviations before widening, by the group left out.
        error: root mean squared error of the forest's foresight, by the group left out.
    """

    surrogate: Surrogate
    widened: float
    off: Mapping[str, float]
    error: Mapping[str, float]


def fit(
    name: str,
    pools: Sequence[Pool],
    splits: Splits,
    settings: Settings,
    report: Report = lambda stage, step, loss: None,
) -> Fitted:
    """Meta-train on the pools.

    Args:
        name: of the surrogate.
        pools: of at least two groups of tasks.
        splits: say which tasks form a group.
        settings: steps, trees and seed.
        report: told the stage, step and loss from time to time.

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
    everything = [table for group in sorted(groups) for table in groups[group]]
    widths = {name: getattr(everything[0].inputs, name).shape[1] for name in READ}
    columns = residual_groups(widths)
    scaling = scaling_of([table.inputs for table in everything])
    lessons = {group: _lessons(group, groups, scaling, settings, report) for group in sorted(groups)}
    off = {}
    for group in lessons:
        rest = [lesson for other in lessons if other != group for lesson in lessons[other]]
        process = learn(columns, rest, settings, partial(report, f"without {group}"))
        off[group] = np.abs(deviations(process, lessons[group]))
    factor = float(np.mean([np.quantile(z, COVERAGE) for z in off.values()]) / QUANTILE)
    process = learn(columns, [x for part in lessons.values() for x in part], settings, partial(report, "all"))
    widen(process, factor)
    learned = Learned(
        pools[0].space.columns,
        widths,
        scaling,
        fit_forest(everything, settings.seed, settings.trees),
        process.parameters_by_name(),
        Range.of(np.vstack([table.inputs.weights for table in everything]), ARCHITECTURE),
    )
    return Fitted(
        Surrogate(name, learned),
        factor,
        {group: float(np.mean(z < QUANTILE)) for group, z in off.items()},
        {group: _error(part) for group, part in lessons.items()},
    )


def _lessons(
    group: str,
    groups: Mapping[str, Sequence[Table]],
    scaling: Scaling,
    settings: Settings,
    report: Report,
) -> list[Lesson]:
    """The group's tasks, as a forest over all other groups foresees them."""
    rest = [table for other in sorted(groups) if other != group for table in groups[other]]
    forest = fit_forest(rest, settings.seed, settings.trees)
    lessons = [
        Lesson.of(table, scaling, forest.predict(forest_columns(table.inputs))) for table in groups[group]
    ]
    report(f"forest without {group}", 1, _error(lessons))
    return lessons


def _error(lessons: Sequence[Lesson]) -> float:
    return float(np.sqrt(np.mean([float(lesson.residuals.square().mean()) for lesson in lessons])))
