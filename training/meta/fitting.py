"""One surrogate from the pools of some tasks: trees, their doubt, and a process over what they leave over.

Groups of tasks are left out in turn: doubt, lean and process learn from what trees say of groups they have
not seen, and how far processes are off on groups they have not learned from says by how much deviations are
to be widened, those of runs of which less or more is seen each by themselves. Nothing outside the given pools
is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.surrogate.foresight import READ, doubted, foresee
from fms_hub.surrogate.learned import ByStage, Learned, Range, residual_groups
from fms_hub.surrogate.scaling import Scaling
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.pooling import POOLED
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import Splits
from training.corpus.tasks import dataset
from training.meta.prior import Foreseen, fit_doubt, fit_forest
from training.meta.shelf import Shelf
from training.meta.table import Table, table_of
from training.meta.train import Lesson, Misses, Settings, lean_of, learn, misses, scaling_of

ARCHITECTURE = tuple(number for number, name in enumerate(POOLED) if name.startswith("global_"))
"""Columns of a pooled weight graph that say what the network looks like."""
COVERAGE, QUANTILE = 0.9, 1.645
"""Deviations are widened until so large a share of scores, groups counting alike, is within so many."""
Report = Callable[[str, int, float], None]


@dataclass(frozen=True)
class Fitted:
    """A meta-trained surrogate and how it came about.

    Attributes:
        name: of the surrogate.
        learned: what it carries.
        off: share of scores within `QUANTILE` deviations before widening, by the group left out.
        error: root mean squared error of what trees foresee, by the group left out.
    """

    name: str
    learned: Learned
    off: Mapping[str, float]
    error: Mapping[str, float]

    @property
    def surrogate(self) -> Surrogate:
        """Without observations."""
        return Surrogate(self.name, self.learned)


def fit(
    name: str,
    pools: Sequence[Pool],
    splits: Splits,
    settings: Settings,
    report: Report = lambda stage, step, loss: None,
    shelf: Shelf | None = None,
) -> Fitted:
    """Meta-train on the pools.

    Args:
        name: of the surrogate.
        pools: of at least two groups of tasks.
        splits: say which tasks form a group.
        settings: steps, trees and seed.
        report: told the stage, step and loss from time to time.
        shelf: of forests that were fitted before; None fits all of them.

    Raises:
        UsageError: all tasks are of one group, the pools are of different search spaces, or no run has
            sketches of its weights.
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
    weights = np.vstack([table.inputs.weights for table in everything])
    if np.isnan(weights).any(axis=1).all():
        raise UsageError(
            "no run of these pools has sketches of its weights, which meta-training reads; add some."
        )
    widths = {name: getattr(everything[0].inputs, name).shape[1] for name in READ}
    columns = residual_groups(widths)
    scaling = scaling_of([table.inputs for table in everything])
    foreseen = {group: _foreseen(group, groups, settings, report, shelf) for group in sorted(groups)}
    lessons = {group: _lessons(group, foreseen, scaling, settings) for group in foreseen}
    off: dict[str, Misses] = {}
    for group in lessons:
        rest = [lesson for other in lessons if other != group for lesson in lessons[other]]
        lean = lean_of(rest)
        process = learn(columns, _leaning(rest, lean), settings, partial(report, f"without {group}"))
        off[group] = misses(process, _leaning(lessons[group], lean))
    every = [lesson for part in lessons.values() for lesson in part]
    lean = lean_of(every)
    process = learn(columns, _leaning(every, lean), settings, partial(report, "all"))
    learned = Learned(
        pools[0].space.columns,
        widths,
        scaling,
        fit_forest(everything, settings.seed, settings.trees, shelf),
        fit_doubt([one for part in foreseen.values() for one in part], settings.seed),
        process.parameters_by_name(),
        Range.of(weights, ARCHITECTURE),
        lean,
        _widening(list(off.values())),
    )
    return Fitted(
        name,
        learned,
        {group: float(np.mean(np.abs(one.off) < QUANTILE)) for group, one in off.items()},
        {group: _error(part) for group, part in foreseen.items()},
    )


def _foreseen(
    group: str,
    groups: Mapping[str, Sequence[Table]],
    settings: Settings,
    report: Report,
    shelf: Shelf | None,
) -> list[Foreseen]:
    """What trees over all other groups foresee of the group's tasks."""
    rest = [table for other in sorted(groups) if other != group for table in groups[other]]
    forest = fit_forest(rest, settings.seed, settings.trees, shelf)
    found = [Foreseen(table, foresee(forest, table.inputs)) for table in groups[group]]
    report(f"trees without {group}", 1, _error(found))
    return found


def _lessons(
    group: str, foreseen: Mapping[str, Sequence[Foreseen]], scaling: Scaling, settings: Settings
) -> list[Lesson]:
    """The group's tasks, in units of the doubt that was learned from all other groups."""
    doubt = fit_doubt([one for other in foreseen if other != group for one in foreseen[other]], settings.seed)
    return [Lesson.of(one, scaling, doubted(doubt, one.table.inputs, one.mean)) for one in foreseen[group]]


def _leaning(lessons: Sequence[Lesson], lean: ByStage) -> list[Lesson]:
    return [lesson.leaning(lean) for lesson in lessons]


def _widening(found: Sequence[Misses]) -> ByStage:
    """Under which a share of `COVERAGE` is within `QUANTILE` deviations, groups counting alike."""
    stages = range(len(fields(ByStage)))
    off = [[np.abs(one.off[one.stage == s]) for one in found if (one.stage == s).any()] for s in stages]
    return ByStage(*(_factor(part) for part in off))


def _factor(off: Sequence[NDArray[np.float64]]) -> float:
    if not off:
        return 1.0  # runs of few epochs are never seen at some stages
    weights = np.concatenate([np.full(len(z), 1.0 / len(z)) for z in off])
    z = np.concatenate(off)
    order = np.argsort(z)
    place = np.searchsorted(np.cumsum(weights[order]), COVERAGE * weights.sum())
    return float(z[order][min(place, len(z) - 1)]) / QUANTILE


def _error(foreseen: Sequence[Foreseen]) -> float:
    return float(np.sqrt(np.mean([np.square(one.table.scores - one.mean).mean() for one in foreseen])))
