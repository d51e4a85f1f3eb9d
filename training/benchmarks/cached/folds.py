"""What a method is judged on, and what it may have learned from.

Groups of datasets (``splits.json``) are left out one after the other; everything else of the hub, as far as
`training.corpus.splits.Splits.part` allows, is there to learn from. The two splits differ in the groups they
judge:

    meta-validation  the groups in `DEVELOPMENT`: their results were looked at while the package was built
                     (the acquisition rules, the sketch), and may be looked at as often as one likes
    meta-test        all other groups; looking at them is written into ``training/LOG.md``

So no choice that was made on meta-validation has seen how a meta-test task comes out, and whatever is judged
was trained without the judged group. Runs whose candidate was pretrained on the judged group are in neither
part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fms_hub.errors import UsageError
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import Fold, Part, Run, Splits
from training.corpus.tasks import dataset

Split = Literal["meta-validation", "meta-test"]
DEVELOPMENT = frozenset({"objects", "traffic signs", "insects", "flowers"})


@dataclass(frozen=True)
class Judged:
    """One fold.

    Attributes:
        groups: what is left out.
        judged: pools of the tasks in it.
        training: pools that may be learned from.
    """

    groups: frozenset[str]
    judged: Mapping[str, Pool]
    training: Mapping[str, Pool]


def folds(pools: Mapping[str, Pool], splits: Splits, split: Split) -> Iterator[Judged]:
    """The folds of a split that have a task, in the order of ``splits.json``.

    Raises:
        UsageError: no task of the pools is in the split.
        ValueError: a task, source or architecture is in no group or family.
    """
    found = 0
    for fold in splits.folds():
        if split_of(fold) != split:
            continue
        judged = belonging(pools, splits, fold, "test")
        if judged:
            found += 1
            yield Judged(fold.groups, judged, belonging(pools, splits, fold, "train"))
    if not found:
        raise UsageError(f"none of the tasks {', '.join(sorted(pools))} is in the split {split}.")


def split_of(fold: Fold) -> Split:
    """The split that a fold belongs to."""
    return "meta-validation" if fold.groups & DEVELOPMENT else "meta-test"


def belonging(pools: Mapping[str, Pool], splits: Splits, fold: Fold, part: Part) -> dict[str, Pool]:
    """Of every task the runs that stand on one side of a fold; tasks without any are left out."""
    found = {}
    for name, pool in pools.items():
        chosen = [i for i in range(len(pool.runs)) if splits.part(fold, _run(pool, i)) == part]
        if chosen:
            found[name] = pool.only(chosen)
    return found


def _run(pool: Pool, index: int) -> Run:
    candidate = pool.candidates[pool.runs[index].candidate]
    source = None if candidate.source == "random" else candidate.source
    return Run(dataset(pool.task.name), source, candidate.architecture)
