"""Which tasks a surrogate learns from, which it is stopped by, and which it never sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fms_hub.corpus.schema import CandidateRow
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus.splits import Fold, Run, Splits
from training.corpus.tasks import dataset

RANDOM = "random"
"""The source of candidates that were not pretrained."""


@dataclass(frozen=True)
class Part:
    """Pools of one side of a fold: of every task only the runs that belong there."""

    train: tuple[Pool, ...]
    test: tuple[Pool, ...]


def part(pools: Sequence[Pool], splits: Splits, fold: Fold) -> Part:
    """Divide pools by a fold; what `training.corpus.splits` leaves out is in neither part."""
    sides: dict[str, list[Pool]] = {"train": [], "test": []}
    for pool in pools:
        where = [splits.part(fold, run_of(pool, run)) for run in pool.runs]
        for side, found in sides.items():
            chosen = [number for number, of in enumerate(where) if of == side]
            if chosen:
                found.append(pool.only(chosen))
    return Part(tuple(sides["train"]), tuple(sides["test"]))


def held_out(pools: Sequence[Pool], splits: Splits) -> Iterator[Fold]:
    """The folds over groups that have any of the pools' tasks to test on."""
    there = {splits.group[dataset(pool.task.name)] for pool in pools}
    return (fold for fold in splits.folds() if fold.groups & there)


def run_of(pool: Pool, run: CachedRun) -> Run:
    """What of a cached run decides where it belongs."""
    row: CandidateRow = pool.candidates[run.candidate]
    source = None if row.source == RANDOM else row.source
    return Run(dataset(pool.task.name), source, row.architecture)
