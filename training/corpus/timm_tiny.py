"""The plan of the timm-tiny hub: stratified cells, repeats, and the best runs once more.

A cell is a task and a candidate that never saw the task's images.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from fms_hub.records import Value
from training.corpus.plan import PlannedRun
from training.corpus.splits import read_splits
from training.corpus.tasks import dataset

DEEP, SHALLOW = 6, 1
"""Configurations of a cell; half of the cells of a task are deep, so that there is a truth to rank."""
HORIZONS = (12, 12, 16)
REPEAT_EVERY = 20
"""One run in this many, task by task, is run once more with the next seed: the noise."""
BEST, BEST_SEEDS = 3, 2
"""So many runs of each task are repeated with so many more seeds."""


@dataclass(frozen=True)
class Cell:
    """A (task, candidate) pair of the plan.

    Attributes:
        task, candidate: names.
        runs: how many configurations it gets.
        shift: where between 0 and 1 of the way from one of its runs to the next it begins.
    """

    task: str
    candidate: str
    runs: int
    shift: float


def cells(tasks: Sequence[str], pretrained: Mapping[str, str | None], seed: int) -> list[Cell]:
    """All cells, none of a candidate that was pretrained on the task's images.

    Args:
        tasks: names.
        pretrained: the dataset of each candidate's pretraining, or None, by its name.
        seed: decides which are deep.
    """
    splits = read_splits()
    found = []
    for i, task in enumerate(tasks):
        allowed = [name for name, data in pretrained.items() if not splits.leaks(data, dataset(task))]
        order = sorted(allowed, key=lambda name: _number(seed, task, name))
        deep = (len(order) + 1) // 2
        for part, runs in ((order[:deep], DEEP), (order[deep:], SHALLOW)):
            for k, name in enumerate(part):
                found.append(Cell(task, name, runs, (k + (i + 0.5) / len(tasks)) / len(part)))
    return found


def timm_tiny(tasks: Sequence[str], pretrained: Mapping[str, str | None], seed: int) -> list[PlannedRun]:
    """The whole sweep, in an order of which any beginning has about the same mix as all of it.

    In a cell the first configuration is the default one, so that every candidate is once on every task under
    the same hyperparameters; the others are uniform over the default space; the horizons take turns.
    Arguments as in `cells`; the runs' seed is ``seed``, that of repeats the next.
    """
    placed = []
    for cell in cells(tasks, pretrained, seed):
        turn = _number(seed, cell.task, cell.candidate, "horizon")
        for k, values in enumerate(_configurations(cell, seed)):
            horizon = HORIZONS[(turn + k) % len(HORIZONS)]
            run = PlannedRun(cell.task, cell.candidate, values, horizon, seed)
            placed.append(((k + cell.shift) / cell.runs, run))
    placed.sort(key=lambda item: item[0])
    return list(_with_repeats([run for _, run in placed]))


def best(rows: pd.DataFrame, seed: int) -> list[PlannedRun]:
    """The best runs of each task so far, by their last validation score, with further seeds.

    Args:
        rows: of the sweep's shards.
        seed: of the sweep; runs of other seeds are not looked at.
    """
    last = rows[(rows["epoch"] == rows["horizon"]) & (rows["status"] == "ok") & (rows["seed"] == seed)]
    ordered = last.sort_values(["validation_score", "run"], ascending=[False, True], kind="stable")
    chosen = ordered.groupby("task", sort=True).head(BEST).to_dict("records")
    planned = [
        PlannedRun(r["task"], r["candidate"], json.loads(r["hyperparameters"]), int(r["horizon"]), seed)
        for r in chosen
    ]
    return [replace(run, seed=seed + more) for more in range(1, BEST_SEEDS + 1) for run in planned]


def _configurations(cell: Cell, seed: int) -> list[dict[str, Value]]:
    from fms_hub.search.space import Space  # where a pack has the plan, ConfigSpace is not needed

    space = Space()
    return [space.default(), *space.sample(cell.runs - 1, _number(seed, cell.task, cell.candidate) % 2**31)]


def _with_repeats(runs: Sequence[PlannedRun]) -> Iterator[PlannedRun]:
    seen: dict[str, int] = {}
    for run in runs:
        yield run
        seen[run.task] = seen.get(run.task, _number(run.seed, run.task) % REPEAT_EVERY) + 1
        if seen[run.task] % REPEAT_EVERY == 0:
            yield replace(run, seed=run.seed + 1)


def _number(*parts: int | str) -> int:
    """A number of 64 bits that depends on all the parts and repeats on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")
