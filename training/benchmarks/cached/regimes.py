"""What a surrogate has seen of what it is judged on: many other tasks or one, the architectures or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from training.benchmarks.cached.folds import belonging
from training.benchmarks.cached.judging import JudgedTask
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import Fold, Splits

MANY, ONE, SCRATCH = "many", "one", "scratch"
NEW_TASK, NEW_FAMILY, NEW_BOTH = "new-task", "new-family", "new-both"
NOTES: Mapping[str, str] = {
    MANY: "meta-trained on all other groups of tasks",
    ONE: "meta-trained on one task of another group",
    SCRATCH: "additive kernels, this search alone",
    NEW_TASK: "meta-trained on other tasks and all architectures",
    NEW_FAMILY: "meta-trained on all tasks and other architectures",
    NEW_BOTH: "meta-trained on other tasks and other architectures",
}
WHOLE, FAMILY = "all runs of the pool", "runs of one fold of architectures"
LEAST = 5
"""A fold of architectures with fewer runs of a task is not judged."""


@dataclass(frozen=True)
class Case:
    """A pool to judge on, and what is to be learned from before.

    Attributes:
        task: that is judged, with only the runs to judge on.
        regime: one of `NOTES`.
        ranked: `WHOLE` or `FAMILY`.
        part: names the judged runs among those of the task.
        training: pools to meta-train on; none for `SCRATCH`.
    """

    task: JudgedTask
    regime: str
    ranked: str
    part: str
    training: tuple[Pool, ...] = ()


def cases(tasks: list[JudgedTask], everything: Mapping[str, Pool], splits: Splits) -> Iterator[Case]:
    """All there is to judge. The regimes of a block are judged on the same runs.

    Args:
        tasks: to judge on.
        everything: pools of the hub, by task.
        splits: groups of tasks and families of architectures.
    """
    for task in tasks:
        yield Case(task, MANY, WHOLE, "all", tuple(task.training.values()))
        yield Case(task, ONE, WHOLE, "all", halves(largest(task.training)))
        yield Case(task, SCRATCH, WHOLE, "all")
        for families in splits.family_folds:
            yield from _unseen(task, families, everything, splits)


def _unseen(
    task: JudgedTask, families: frozenset[str], everything: Mapping[str, Pool], splits: Splits
) -> Iterator[Case]:
    both, tasks_only = Fold(task.groups, families), Fold(task.groups)
    judged = belonging({task.task: task.pool}, splits, both, "test").get(task.task)
    if judged is None or len(judged.runs) < LEAST:
        return
    on = replace(task, pool=judged)
    trained = {
        NEW_TASK: belonging(everything, splits, tasks_only, "train"),
        NEW_FAMILY: belonging(everything, splits, Fold(frozenset(), families), "train"),
        NEW_BOTH: belonging(everything, splits, both, "train"),
    }
    for regime, pools in trained.items():
        yield Case(on, regime, FAMILY, "-".join(sorted(families)), tuple(pools.values()))


def largest(training: Mapping[str, Pool]) -> Pool:
    """The pool with the most runs, the first of equals by name."""
    return max((training[name] for name in sorted(training)), key=lambda pool: len(pool.runs))


def halves(pool: Pool) -> tuple[Pool, Pool]:
    """Every other run, as two tasks of groups of their own: meta-training leaves out groups in turn."""
    # No dataset has such a name, so that the groups are these and not that of the task.
    first, second = (
        replace(pool.only(range(start, len(pool.runs), 2)), task=replace(pool.task, name=name, group=name))
        for start, name in enumerate(("first half", "second half"))
    )
    return first, second
