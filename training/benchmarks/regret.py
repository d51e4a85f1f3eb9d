"""How fast methods find the best run of a pool: normalised regret against epochs and against seconds.

    python -m training.benchmarks.regret --hub DIR [--methods random,dyhpo] [--seeds 10] [--budget 200]
        [--split meta-validation|meta-test] [--surrogates DIR] [--seconds FILE] [--out DIR]
        [--json] [--quick]

On a task all methods choose from one finite pool of cached runs (`training.benchmarks.cached`); a continuous
proposal snaps to the nearest untried row, which the table says with "snaps". Each seed searches another four
fifths of the pool, the same for all methods. Intervals are 95 %, clustered by task. The regrets are defined
in `training.benchmarks.cached.scoring`, the splits in `training.benchmarks.cached.folds`.

Expected hours are printed first. Every search is stored under ``--out``, with a picture of them all,
``regret.svg``, and not repeated, unless the pool, what was learned from, or the budget is another.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote, for ``fms``. Seconds go by the times
of optimiser steps in FILE of ``--seconds``, from `training.benchmarks.cached.step_time`; those of one CPU are
there. LogME and the linear probes of ``logme-first`` and ``probe-first`` are those of the corpus.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from fms_hub.corpus.schema import ProbeRow
from fms_hub.corpus.tables import read_table
from fms_hub.corpus.wholefile import write_whole
from training.benchmarks.cached.costs import MEASURED, read_step_times
from training.benchmarks.cached.judging import judged_tasks, parse_searches, searches_parser, show
from training.benchmarks.cached.methods import METHODS
from training.benchmarks.cached.regrets import Table, picture, targets
from training.benchmarks.cached.report import LOG, Report
from training.benchmarks.cached.searches import SHARE, Contest, Job, contest, expected_seconds


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Search or read back, print the tables or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _parse(given)
    prepared = _contest(settings)
    hours = expected_seconds(prepared) / 3600
    print(f"about {hours:.2f} hours for the searches that are not stored yet", file=sys.stderr, flush=True)
    results = prepared.run()
    table = Table(prepared, results)
    write_whole(settings.out / "regret.svg", picture(table).encode())
    report = Report("regret", _setting(settings, prepared), table.rows(), targets(table))
    show(report, settings, given, log)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = searches_parser("regret", METHODS)
    parser.add_argument("--seconds", type=Path, default=MEASURED, help="table of step times")
    return parse_searches(parser, arguments, tuple(METHODS))


def _contest(settings: argparse.Namespace) -> Contest:
    times = read_step_times(settings.seconds)
    probes = _probes(settings)
    jobs = [
        Job(
            judged.task,
            judged.pool,
            judged.training,
            {name: t[judged.task] for name, t in probes.items() if judged.task in t},
            judged.surrogate,
        )
        for judged in judged_tasks(settings)
    ]
    methods = [METHODS[name] for name in settings.methods.split(",")]
    made = contest(
        jobs, methods, range(settings.seeds), settings.budget, times, settings.out, quick=settings.quick
    )
    for name, why in made.left_out.items():
        print(f"{name} is left out: {why}", file=sys.stderr)
    return made


def _probes(settings: argparse.Namespace) -> dict[str, dict[str, dict[str, float]]]:
    """Scores by probe, task and candidate."""
    found: dict[str, dict[str, dict[str, float]]] = {"linear probe": {}, "logme": {}}
    for row in read_table(settings.hub, ProbeRow):
        for name, score in (("linear probe", row.validation_score), ("logme", row.logme)):
            if score is not None:
                found[name].setdefault(row.task, {})[row.candidate] = score
    return found


def _setting(settings: argparse.Namespace, prepared: Contest) -> str:
    sizes = [len(job.pool.runs) for job in prepared.jobs]
    tasks = ", ".join(job.task for job in prepared.jobs)
    quick = "; quick, with rough forms of methods" if settings.quick else ""
    return (
        f"hub {prepared.jobs[0].pool.hub}, {settings.split}, {len(sizes)} tasks ({tasks}), pools of "
        f"{min(sizes)} to {max(sizes)} runs, {settings.seeds} seeds with {SHARE:.0%} of them each, "
        f"{settings.budget} epochs a search; seconds: {prepared.times.source}; proposals of methods marked "
        f"'snaps' are replaced by the nearest untried row{quick}"
    )


if __name__ == "__main__":
    main()
