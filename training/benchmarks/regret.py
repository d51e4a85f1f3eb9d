"""How fast methods find the best run of a pool: normalised regret against epochs and against seconds.

    python -m training.benchmarks.regret --hub DIR [--methods random,dyhpo] [--seeds 10] [--budget 200]
        [--split meta-validation|meta-test] [--surrogates DIR] [--seconds FILE] [--logme FILE] [--out DIR]
        [--json] [--quick]

On a task all methods choose from one finite pool of cached runs (`training.benchmarks.cached`); a continuous
proposal snaps to the nearest untried row, which the table says with "snaps". Each seed searches another four
fifths of the pool, the same for all methods. Intervals are 95 %, clustered by task. The regrets are defined
in `training.benchmarks.cached.scoring`, the splits in `training.benchmarks.cached.folds`.

Expected hours are printed first. Every search is stored under ``--out``, with a picture of them all,
``regret.svg``, and not repeated, unless the pool, what was learned from, or the budget is another.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote, for ``fms``. FILE of ``--seconds`` is
written by `training.benchmarks.cached.step_time`; without it seconds are left out. FILE of ``--logme`` is
JSON, ``{task: {candidate: score}}``. The linear probes of ``probe-first`` are those of the corpus.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fms_hub.corpus.schema import ProbeRow
from fms_hub.corpus.tables import read_table
from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import UsageError
from training.benchmarks.cached.costs import read_step_times
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
    parser.add_argument("--seconds", type=Path, help="table of step times")
    parser.add_argument("--logme", type=Path, help="JSON of LogME scores by task and candidate")
    return parse_searches(parser, arguments, tuple(METHODS))


def _contest(settings: argparse.Namespace) -> Contest:
    times = None if settings.seconds is None else read_step_times(settings.seconds)
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
    linear: dict[str, dict[str, float]] = {}
    for row in read_table(settings.hub, ProbeRow):
        linear.setdefault(row.task, {})[row.candidate] = row.validation_score
    if settings.logme is None:
        return {"linear probe": linear}
    try:
        scores = json.loads(settings.logme.read_text(encoding="utf-8"))
        logme = {t: {c: float(s) for c, s in named.items()} for t, named in scores.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"{settings.logme} is no JSON of scores by task and candidate: {error}") from error
    return {"linear probe": linear, "logme": logme}


def _setting(settings: argparse.Namespace, prepared: Contest) -> str:
    sizes = [len(job.pool.runs) for job in prepared.jobs]
    seconds = "not measured" if prepared.times is None else prepared.times.source
    tasks = ", ".join(job.task for job in prepared.jobs)
    quick = "; quick, with rough forms of methods" if settings.quick else ""
    return (
        f"hub {prepared.jobs[0].pool.hub}, {settings.split}, {len(sizes)} tasks ({tasks}), pools of "
        f"{min(sizes)} to {max(sizes)} runs, {settings.seeds} seeds with {SHARE:.0%} of them each, "
        f"{settings.budget} epochs a search; "
        f"seconds: {seconds}; proposals of methods marked 'snaps' are replaced by the nearest untried "
        f"row{quick}"
    )


if __name__ == "__main__":
    main()
