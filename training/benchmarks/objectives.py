"""How fast searches find the front of score and latency: hypervolume against epochs.

    python -m training.benchmarks.objectives --hub DIR [--methods fms-front,nsga2] [--seeds 10] [--budget 200]
        [--split meta-validation|meta-test] [--surrogates DIR] [--seconds FILE] [--out DIR] [--json] [--quick]

On a task all methods choose from one finite pool of cached runs, as in `training.benchmarks.regret`. The
latency of a candidate is what `training.benchmarks.cached.step_time` measured of its architecture; tasks
whose candidates are of one architecture are left out. Each seed searches another part of the pool. Told is
the share of that part's hypervolume (see `training.benchmarks.cached.fronts.shares`), also as a picture,
``objectives.svg`` in DIR of ``--out``; intervals are 95 %, clustered by task.

Expected hours are printed first. Every search is stored under ``--out`` and not repeated, unless the pool,
the surrogate, the step times or the budget is another. ``--split meta-test`` writes date, command and result
into ``training/LOG.md``. DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote; without it
the surrogates learn from each search alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import UsageError
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.costs import MEASURED, StepTimes, read_step_times
from training.benchmarks.cached.environment import BUDGET, Environment
from training.benchmarks.cached.folds import folds
from training.benchmarks.cached.fronts import FRONT_METHODS, FrontMethod, latencies, shares
from training.benchmarks.cached.judging import (
    QUICK_TASKS,
    ids,
    key_of,
    location,
    parse_searches,
    searches_parser,
    show,
)
from training.benchmarks.cached.methods import run
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.searches import SHARE, part
from training.benchmarks.cached.start import hub_pools
from training.benchmarks.cached.statistics import clustered, clustered_row
from training.corpus.splits import read_splits
from training.meta_train import surrogate_of
from training.pictures.panels import by_task

QUARTERS = 4
DIGITS = 6

Vector = NDArray[np.float64]
Results = Mapping[tuple[str, str], Sequence[Vector]]
"""Shares (budget,) of each seed, by method and task."""


@dataclass(frozen=True)
class FrontJob:
    """A judged task.

    Attributes:
        pool: to search in.
        tradeoff: its latencies.
        surrogate: file of the one that was meta-trained without the task's group; None is from scratch.
    """

    pool: Pool
    tradeoff: Tradeoff
    surrogate: Path | None = None

    @property
    def task(self) -> str:
        """Its name."""
        return self.pool.task.name


@dataclass(frozen=True)
class FrontContest:
    """Everything that is to be searched.

    Attributes:
        jobs: at least one.
        methods: of `FRONT_METHODS`.
        seeds, budget: of the searches; the latter in epochs.
        out: where results are stored.
    """

    jobs: Sequence[FrontJob]
    methods: Sequence[FrontMethod]
    seeds: int
    budget: int
    out: Path

    def run(self) -> Results:
        """Search what is not stored."""
        return {
            (method.name, job.task): [self._one(job, method, seed) for seed in range(self.seeds)]
            for job in self.jobs
            for method in self.methods
        }

    def expected_seconds(self) -> float:
        """About how long what is not stored yet will take on one core."""
        return sum(
            method.seconds * self.budget / BUDGET
            for job in self.jobs
            for method in self.methods
            for seed in range(self.seeds)
            if _read(self._path(job, method, seed), self._key(job, method)) is None
        )

    def _one(self, job: FrontJob, method: FrontMethod, seed: int) -> Vector:
        path, key = self._path(job, method, seed), self._key(job, method)
        known = _read(path, key)
        if known is not None:
            return known
        surrogate = Surrogate() if job.surrogate is None else Surrogate.load(job.surrogate)
        start = derived_seed(job.task, seed)
        pool = part(job.pool, start)
        history = run(method.make(job.tradeoff, surrogate), Environment(pool, self.budget), start)
        found = np.round(shares(pool, history, job.tradeoff, self.budget), DIGITS)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"key": key, "shares": found.tolist()}).encode())
        return found

    def _path(self, job: FrontJob, method: FrontMethod, seed: int) -> Path:
        return location(self.out, job.pool, f"{method.name}-{seed}")

    def _key(self, job: FrontJob, method: FrontMethod) -> str:
        parts = [method.note, ids(job.pool), dict(job.tradeoff.costs), self.budget, SHARE]
        return key_of(parts, job.surrogate)


def _read(path: Path, key: str) -> Vector | None:
    """A stored search; None if there is none of this key."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return np.array(content["shares"], dtype=np.float64) if content["key"] == key else None


def rows(contest: FrontContest, results: Results) -> list[TableRow]:
    """The share of the hypervolume after each quarter of the budget, method by method."""
    found = []
    points = sorted({max(1, contest.budget * quarter // QUARTERS) for quarter in range(1, QUARTERS + 1)})
    for method in contest.methods:
        for epochs in points:
            values = {
                job.task: [float(seed[epochs - 1]) for seed in results[method.name, job.task]]
                for job in contest.jobs
            }
            hub, name = contest.jobs[0].pool.hub, f"{method.name} ({method.note})"
            found.append(clustered_row(name, hub, f"{epochs} epochs", "share of the hypervolume", values))
    return found


def picture(contest: FrontContest, results: Results) -> str:
    """The share of the hypervolume against epochs, over all tasks and on each, means over seeds, as SVG."""
    found = {
        method.name: {job.task: results[method.name, job.task] for job in contest.jobs}
        for method in contest.methods
    }
    return by_task(f"share of the hypervolume of score and latency, {contest.jobs[0].pool.hub}", found)


def targets(contest: FrontContest, results: Results) -> list[Target]:
    """Ours against NSGA-II: the lower end of the paired difference, over the whole budget, is above 0."""
    names = {method.name for method in contest.methods}
    words = "fms-front less nsga2, mean over the epochs, lower end of the 95 % interval"
    if not {"fms-front", "nsga2"} <= names:
        return [Target(words, 0.0, None, met=False)]
    differences = {
        job.task: [
            float((ours - theirs).mean())
            for ours, theirs in zip(
                results["fms-front", job.task], results["nsga2", job.task], strict=True
            )
        ]
        for job in contest.jobs
    }  # fmt: skip
    low = clustered(differences).low
    return [Target(words, 0.0, low, met=low > 0.0)]


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _parse(given)
    times = read_step_times(settings.seconds)
    contest = _contest(settings, times)
    hours = contest.expected_seconds() / 3600
    print(f"about {hours:.2f} hours for the searches that are not stored yet", file=sys.stderr, flush=True)
    results = contest.run()
    setting = (
        f"hub {contest.jobs[0].pool.hub}, {settings.split}, {len(contest.jobs)} tasks "
        f"({', '.join(job.task for job in contest.jobs)}), {contest.seeds} seeds, {contest.budget} epochs a "
        f"search; latency: {times.source}; surrogates: "
        f"{'from scratch' if settings.surrogates is None else 'meta-trained without the judged group'}"
    )
    settings.out.mkdir(parents=True, exist_ok=True)
    write_whole(settings.out / "objectives.svg", picture(contest, results).encode())
    report = Report("objectives", setting, rows(contest, results), targets(contest, results))
    show(report, settings, given, log)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = searches_parser("objectives", FRONT_METHODS)
    parser.add_argument("--seconds", type=Path, default=MEASURED, help="table of step times")
    return parse_searches(parser, arguments, tuple(FRONT_METHODS))


def _contest(settings: argparse.Namespace, times: StepTimes) -> FrontContest:
    jobs = []
    for judged in folds(hub_pools(settings.hub), read_splits(), settings.split):
        surrogate = surrogate_of(settings.surrogates, judged.groups)
        if settings.surrogates is not None and surrogate is None:
            raise UsageError(
                f"{settings.surrogates} has no surrogate without {', '.join(sorted(judged.groups))}."
            )
        for task, pool in judged.judged.items():
            tradeoff = latencies(pool, times)
            if tradeoff is None:
                print(f"{task} is left out: all its candidates are equally fast", file=sys.stderr)
            else:
                jobs.append(FrontJob(pool, tradeoff, surrogate))
    if not jobs:
        raise UsageError(
            f"no task of {settings.hub} has candidates that differ in latency; name another hub."
        )
    methods = [FRONT_METHODS[name] for name in settings.methods.split(",")]
    chosen = jobs[:QUICK_TASKS] if settings.quick else jobs
    return FrontContest(chosen, methods, settings.seeds, settings.budget, settings.out)


if __name__ == "__main__":
    main()
