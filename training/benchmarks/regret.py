"""How fast methods find the best run of a pool: normalised regret against epochs and against seconds.

    python -m training.benchmarks.regret --hub DIR [--methods random,dyhpo] [--seeds 10] [--budget 200]
        [--split meta-validation|meta-test] [--surrogates DIR] [--seconds FILE] [--logme FILE] [--out DIR]
        [--json] [--quick]

On a task all methods choose from one finite pool of cached runs (`training.benchmarks.cached`); a continuous
proposal snaps to the nearest untried row, which the table says with "snaps". Intervals are 95 %, clustered
by task. The regrets are defined in `training.benchmarks.cached.scoring`, the splits in
`training.benchmarks.cached.folds`.

Expected hours are printed first. Every search is stored under ``--out`` and not repeated, unless the pool,
what was learned from, or the budget is another. ``--split meta-test`` writes date, command and result into
``training/LOG.md``.

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
from fms_hub.errors import UsageError
from training.benchmarks.cached.costs import read_step_times
from training.benchmarks.cached.environment import BUDGET
from training.benchmarks.cached.folds import folds
from training.benchmarks.cached.methods import METHODS
from training.benchmarks.cached.regrets import Table, targets
from training.benchmarks.cached.report import LOG, Report, append_log
from training.benchmarks.cached.searches import Contest, Job, contest, expected_seconds
from training.benchmarks.cached.start import hub_pools
from training.corpus.splits import read_splits
from training.meta_train import surrogate_of

QUICK_TASKS, QUICK_SEEDS, QUICK_BUDGET = 2, 2, 30


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Search or read back, print the tables or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _parse(given)
    prepared = _contest(settings)
    hours = expected_seconds(prepared) / 3600
    print(f"about {hours:.2f} hours for the searches that are not stored yet", file=sys.stderr, flush=True)
    results = prepared.run()
    table = Table(prepared, results)
    report = Report("regret", _setting(settings, prepared), table.rows(), targets(table))
    if settings.split == "meta-test":
        append_log(report, given, log)
    print(report.json() if settings.json else report.markdown())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.regret")
    parser.add_argument("--hub", type=Path, required=True, help="folder of the shards of one hub")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=BUDGET, help="epochs of a search")
    parser.add_argument("--split", choices=("meta-validation", "meta-test"), default="meta-validation")
    parser.add_argument("--surrogates", type=Path, help="folder that training.meta_train --held-out wrote")
    parser.add_argument("--seconds", type=Path, help="table of step times")
    parser.add_argument("--logme", type=Path, help="JSON of LogME scores by task and candidate")
    parser.add_argument("--out", type=Path, default=Path("runs/regret"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two tasks, two seeds, 30 epochs: to try it out")
    settings = parser.parse_args(arguments)
    unknown = [name for name in settings.methods.split(",") if name not in METHODS]
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}; there are {', '.join(METHODS)}.")
    if settings.quick and settings.split == "meta-test":
        parser.error("--quick is for trying out, on meta-validation; meta-test is looked at in full.")
    if settings.quick:
        settings.seeds, settings.budget = QUICK_SEEDS, QUICK_BUDGET
    return settings


def _contest(settings: argparse.Namespace) -> Contest:
    times = None if settings.seconds is None else read_step_times(settings.seconds)
    read = hub_pools(settings.hub)
    probes = _probes(settings)
    jobs = [
        Job(
            task,
            pool,
            judged.training,
            {name: t[task] for name, t in probes.items() if task in t},
            surrogate_of(settings.surrogates, judged.groups),
        )
        for judged in folds(read, read_splits(), settings.split)
        for task, pool in judged.judged.items()
    ]
    jobs = jobs[:QUICK_TASKS] if settings.quick else jobs
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
        f"{min(sizes)} to {max(sizes)} runs, {settings.seeds} seeds, {settings.budget} epochs a search; "
        f"seconds: {seconds}; proposals of methods marked 'snaps' are replaced by the nearest untried "
        f"row{quick}"
    )


if __name__ == "__main__":
    main()
