"""What many observations make of a surrogate: told exactly, as an even share, or through inducing rows.

    python -m training.benchmarks.many_observations --hub DIR --surrogates DIR [--seeds 10]
        [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

Of each task a fifth of the runs is held out. Of the others, drawn at random, all epochs are told until there
are so many observations, each of which answers up to three questions: the rows of the process. Foreseen are
the final scores of those that were held out, seen for 0 or for 3 epochs. All ways are told the same
observations with the same parameters, fitted as a search fits them. The log score is the mean negative
logarithm of the density, of scores between guessing, 0, and perfect, 1; lower is better. Seconds are those of
conditioning and asking on one thread. Intervals are 95 %, clustered by task.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote. Results are stored under ``--out``.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.inducing import INDUCING
from fms_hub.surrogate.inputs import Inputs, evenly
from fms_hub.surrogate.surrogate import EXACT_UP_TO, Surrogate
from training.benchmarks.cached.judging import (
    JudgedTask,
    described,
    expect,
    ids,
    judged_tasks,
    key_of,
    location,
    parse,
    show,
    stored,
    table_parser,
)
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.statistics import clustered, clustered_row
from training.benchmarks.cached.trust import Trust, fitted, percent
from training.meta.episodes import seen_rows
from training.meta.table import Table

OBSERVATIONS = (250, 400, 600, 800, 1000, 1400)
QUICK = (40, 80)
SEEN = (0, 3)
HELD_OUT = 0.2
LEVEL = 0.9
SHARE = f"share within {percent(LEVEL)} intervals"
SLACK = 0.05
"""How far from 90 % that may be."""
SECONDS = 40.0
"""Of all ways together at the most observations, at most."""
Vector = NDArray[np.float64]
Told = Callable[[Surrogate, Inputs, Vector], Surrogate]
"""Conditions a surrogate on n rows and their scores."""
Found = Mapping[tuple[str, int, str], Mapping[str, Sequence[float]]]
"""By way, observations and number: by task, one a seed."""


def as_usual(surrogate: Surrogate, inputs: Inputs, scores: Vector) -> Surrogate:
    """On all: exactly while they are few, then through inducing rows."""
    return surrogate.condition(inputs, scores)


def exactly(surrogate: Surrogate, inputs: Inputs, scores: Vector) -> Surrogate:
    """On all, exactly, however many they are."""
    return replace(surrogate.condition(inputs, scores), exact_up_to=len(scores))


def by_share(most: int, surrogate: Surrogate, inputs: Inputs, scores: Vector) -> Surrogate:
    """On at most so many, evenly spread; the rest is not told."""
    rows = evenly(len(scores), most)
    return exactly(surrogate, inputs.rows(rows), scores[rows])


def through(inducing: int, surrogate: Surrogate, inputs: Inputs, scores: Vector) -> Surrogate:
    """On all, through so many inducing rows."""
    return replace(surrogate.condition(inputs, scores), exact_up_to=0, inducing=inducing)


USUAL = f"as it comes: exact up to {EXACT_UP_TO} rows, then {INDUCING} inducing rows"
WAYS: Mapping[str, Told] = {
    USUAL: as_usual,
    "exact": exactly,
    **{f"an even share, {most} rows": partial(by_share, most) for most in (512, 1024)},
    **{f"{inducing} inducing rows": partial(through, inducing) for inducing in (128, 256, 512)},
}


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Foresee or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = parse(table_parser("many_observations"), given)
    torch.set_num_threads(1)
    tasks = judged_tasks(settings)
    without = [task.task for task in tasks if task.surrogate is None]
    if without:
        raise UsageError(
            f"there is no surrogate for {', '.join(without)}; name the folder that "
            "training.meta_train --held-out wrote with --surrogates."
        )
    sizes = QUICK if settings.quick else OBSERVATIONS
    expect(len(tasks) * len(sizes) * settings.seeds * SECONDS / 3600)
    found: dict[tuple[str, int, str], dict[str, list[float]]] = {}
    for task, size, seed in product(tasks, sizes, range(settings.seeds)):
        path = location(settings.out, task.pool, f"{size}-{seed}")
        key = key_of([list(WAYS), SEEN, HELD_OUT, ids(task.pool)], task.surrogate)
        for name, value in stored(path, key, partial(_foreseen, task, size, seed)).items():
            way, number = name.split("/", 1)
            found.setdefault((way, size, number), {}).setdefault(task.task, []).append(value)
    setting = (
        f"{described(settings, tasks)}; final scores of a fifth of the runs, all epochs of as many others as "
        "give the observations being told; seconds on one thread"
    )
    report = Report("many_observations", setting, list(_rows(tasks[0].pool.hub, found)), targets(found))
    show(report, settings, given, log)


def _foreseen(task: JudgedTask, observations: int, seed: int) -> dict[str, float]:
    assert task.surrogate is not None
    rng = np.random.default_rng(derived_seed(task.task, seed))
    return foreseen(Surrogate.load(task.surrogate), task.table, observations, rng)


def foreseen(
    surrogate: Surrogate, table: Table, observations: int, rng: np.random.Generator
) -> dict[str, float]:
    """By "WAY/NUMBER"; what is asked with 3 epochs seen is named so. Nothing where a pool has too few epochs.

    Args:
        surrogate: that never saw the task.
        table: of the task.
        observations: that are told, whole runs but for the last.
        rng: draws who is held out, and the order of the others.
    """
    held, reached = split(table, observations, rng)
    if reached.sum() < observations:
        return {}
    rows = seen_rows(table, reached)
    inputs, scores = table.inputs.rows(rows), table.scores[rows]
    start = fitted(surrogate, inputs, scores)
    found = {"all/rows": float(len(rows))}
    for way, told in WAYS.items():
        for seen in SEEN:
            runs = held[table.horizons[held] > seen]
            asked = table.row[runs, seen, table.horizons[runs]]
            began = time.perf_counter()
            believed = told(start, inputs, scores).posterior(table.inputs.rows(asked))
            seconds = time.perf_counter() - began
            true = table.scores[asked]
            numbers = Trust.of(believed, true).numbers(np.ones(len(asked), dtype=bool))
            found |= {
                f"{way}/{seen}/log score, nats": numbers["surprise"],
                f"{way}/{seen}/{SHARE}": numbers[percent(LEVEL)],
                f"{way}/{seen}/root mean squared error": float(np.sqrt(np.mean((believed.mean - true) ** 2))),
                f"{way}/{seen}/seconds": seconds,
            }
    return found


def split(
    table: Table, observations: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The finished runs that are held out, and the epochs that are told of each run, (R,)."""
    held = np.sort(rng.choice(table.finished, round(HELD_OUT * len(table.finished)), replace=False))
    others = rng.permutation(np.setdiff1d(np.arange(len(table.epochs)), held))
    before = np.concatenate([[0], np.cumsum(table.epochs[others])[:-1]])
    reached = np.zeros_like(table.epochs)
    reached[others] = np.clip(observations - before, 0, table.epochs[others])
    return held, reached


def _rows(hub: str, found: Found) -> Iterator[TableRow]:
    numbers = dict.fromkeys(number for way, _, number in found if way != "all")
    sizes = dict.fromkeys(size for _, size, _ in found)
    for size in sizes:
        yield clustered_row(
            "all", hub, f"{size} observations", "rows of the process", found["all", size, "rows"]
        )
    for number, way, size in product(numbers, WAYS, sizes):
        seen, metric = number.split("/")
        named = f"{metric}, {seen} epochs seen"
        yield clustered_row(way, hub, f"{size} observations", named, found[way, size, number])


def targets(found: Found) -> list[Target]:
    """Intervals stay honest, however much is told."""
    made = []
    for size, seen in product(dict.fromkeys(size for _, size, _ in found), SEEN):
        shares = found[USUAL, size, f"{seen}/{SHARE}"]
        off = abs(clustered(shares).value - LEVEL)
        made.append(
            Target(
                f"{SHARE} off 0.9, at most, after {size} observations, with {seen} epochs seen",
                SLACK,
                off,
                off <= SLACK,
            )
        )
    return made


if __name__ == "__main__":
    main()
