"""All searches of a table, each stored when it is done and never done twice."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fms_hub.corpus.wholefile import write_whole
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.costs import StepTimes, epoch_seconds
from training.benchmarks.cached.environment import BUDGET, Environment
from training.benchmarks.cached.judging import ids, key_of, location
from training.benchmarks.cached.methods import Method, Search, Setting, Unavailable, run
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.scoring import Curves, score

DIGITS = 6
SHARE = 0.8
"""Of a pool that each seed searches, another one: methods without chance of their own are judged on more than
one search, too."""
_NAMES = ("regret", "final", "test", "seconds")


@dataclass(frozen=True)
class Job:
    """A judged task.

    Attributes:
        task: name.
        pool: to search in.
        training: pools to learn from.
        probes: see `training.benchmarks.cached.methods.Setting`.
        surrogate: file of the one that was meta-trained without the task's group, if there is one.
    """

    task: str
    pool: Pool
    training: Mapping[str, Pool]
    probes: Mapping[str, Mapping[str, float]]
    surrogate: Path | None = None


Results = Mapping[tuple[str, str, int], Curves]
"""By method, task and seed."""


@dataclass(frozen=True)
class Contest:
    """Everything that is to be searched.

    Attributes:
        jobs: judged tasks, at least one.
        methods: those that can be used on every task.
        left_out: why the others cannot, by name.
        seeds: of the searches.
        budget: epochs.
        times: of optimiser steps.
        out: where results are stored.
        quick: rough forms of methods.
    """

    jobs: Sequence[Job]
    methods: Sequence[Method]
    left_out: Mapping[str, str]
    seeds: Sequence[int]
    budget: int
    times: StepTimes
    out: Path
    quick: bool

    def run(self) -> Results:
        """Search what is not stored, task by task."""
        found: dict[tuple[str, str, int], Curves] = {}
        for job in self.jobs:
            for method in self.methods:
                found |= self._searched(job, method)
        return found

    def _searched(self, job: Job, method: Method) -> Results:
        search: Search | None = None
        found: dict[tuple[str, str, int], Curves] = {}
        for seed in self.seeds:
            path, key = self.path(job, method, seed), self.key(job, method)
            curves = read(path, key)
            if curves is None:
                search = search or method.make(_setting(job, quick=self.quick))
                curves = self._one(job, search, seed, path, key)
            found[method.name, job.task, seed] = curves
        return found

    def _one(self, job: Job, search: Search, seed: int, path: Path, key: str) -> Curves:
        # One seed is the same pool and start for all methods of a task, and others on each task.
        start = derived_seed(job.task, seed)
        pool = part(job.pool, start)
        began = time.monotonic()
        history = run(search, Environment(pool, self.budget, epoch_seconds(pool, self.times)), start)
        curves = rounded(score(pool, history, self.budget))
        _write(path, key, curves, time.monotonic() - began)
        return curves

    def path(self, job: Job, method: Method, seed: int) -> Path:
        """Where a search is stored."""
        return location(self.out, job.pool, f"{method.name}-{seed}")

    def key(self, job: Job, method: Method) -> str:
        """Changes with everything that a stored result depends on, but the code."""
        learned = {task: ids(pool) for task, pool in job.training.items()}
        times = dict(self.times.seconds)
        parts = [method.note, ids(job.pool), learned, job.probes, self.budget, times, self.quick, SHARE]
        return key_of(parts, job.surrogate)


def part(pool: Pool, seed: int) -> Pool:
    """A share of `SHARE` of the runs, at random and in their order; one at least."""
    return pool.only(share(len(pool.runs), seed).tolist())


def share(runs: int, seed: int) -> NDArray[np.int64]:
    """Places of a share of `SHARE` of so many runs, at random, ascending; one at least."""
    return np.sort(np.random.default_rng(seed).permutation(runs)[: max(1, round(SHARE * runs))])


def contest(
    jobs: Sequence[Job],
    methods: Sequence[Method],
    seeds: Sequence[int],
    budget: int,
    times: StepTimes,
    out: Path,
    *,
    quick: bool,
) -> Contest:
    """Find out which methods can be used; a method that cannot on one task is left out on all."""
    left_out: dict[str, str] = {}
    for method in methods:
        for job in jobs:
            try:
                method.make(_setting(job, quick=quick))
            except Unavailable as why:
                left_out.setdefault(method.name, f"{why} ({job.task})")
    usable = [method for method in methods if method.name not in left_out]
    return Contest(jobs, usable, left_out, seeds, budget, times, out, quick)


def expected_seconds(of: Contest) -> float:
    """About how long what is not stored yet will take on one core."""
    return sum(
        method.seconds * of.budget / BUDGET
        for job in of.jobs
        for method in of.methods
        for seed in of.seeds
        if read(of.path(job, method, seed), of.key(job, method)) is None
    )


def _setting(job: Job, *, quick: bool) -> Setting:
    surrogate = None if job.surrogate is None else Surrogate.load(job.surrogate)
    return Setting(job.training, job.probes, surrogate, quick)


def read(path: Path, key: str) -> Curves | None:
    """A stored search; None if there is none of this key."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["key"] != key:
        return None
    return Curves(*(_array(content[name]) for name in _NAMES))


def rounded(curves: Curves) -> Curves:
    """To the digits that are stored, so that a table is the same whether searches were read back or not."""
    return Curves(*(np.round(getattr(curves, name), DIGITS) for name in _NAMES))


def _write(path: Path, key: str, curves: Curves, wall: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lists = {
        name: [None if np.isnan(value) else float(value) for value in getattr(curves, name)]
        for name in _NAMES
    }
    write_whole(path, json.dumps({"key": key, "wall": round(wall, 2), **lists}).encode())


def _array(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values])
