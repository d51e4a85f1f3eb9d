"""Which candidate is best, before any training: weighted Kendall's tau and top-1 regret over candidates.

    python -m training.benchmarks.zero_shot --hub DIR [--surrogates DIR] [--methods fms,logme] [--seeds 10]
        [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

The truth of a candidate is its best final score in the pool, the mean over seeds where a configuration has
several; see `training.benchmarks.cached.foresight`. Ours says of each candidate the best that it foresees of
its configurations, without an observation. Probes are those of the corpus; LEEP and NCE are judged on the
candidates that have a head of their own, beside ours on the same. A task on which a row can tell fewer than
two candidates apart does not count for it. Intervals are 95 %, clustered by task.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote. Results are stored under ``--out``.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fms_hub.corpus.schema import ProbeRow
from fms_hub.corpus.tables import read_table
from fms_hub.errors import UsageError
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.foresight import (
    ROWS,
    Question,
    Row,
    by_other_seeds,
    shared,
    top_regret,
    truth,
    weighted_tau,
)
from training.benchmarks.cached.judging import (
    ByTask,
    JudgedTask,
    described,
    expect,
    ids,
    judged_tasks,
    key_of,
    lead,
    location,
    parse,
    show,
    stored,
    table_parser,
    usable,
)
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.statistics import clustered_row

OURS, BLIND = "fms", "fms-no-weights"
TAU, REGRET = "weighted Kendall's tau", "top-1 regret"
AT = "before training"
SECONDS = 3.0
"""Of a row on a task, at most."""
Probes = Mapping[str, Mapping[str, ProbeRow]]
Found = Mapping[tuple[str, str], ByTask]
"""By row and metric."""


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Ask or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = table_parser("zero_shot")
    parser.add_argument("--methods", default=",".join(ROWS))
    settings = parse(parser, given, tuple(ROWS))
    torch.set_num_threads(1)
    tasks = [task for task in judged_tasks(settings) if len(truth(task.pool)) > 1]
    if not tasks:
        raise UsageError(f"no task of {settings.hub} in {settings.split} has two candidates to choose from.")
    names = settings.methods.split(",")
    rows = [ROWS[name] for name in usable({name: ROWS[name].taught for name in names}, tasks)]
    expect(len(rows) * len(tasks) * SECONDS / 3600)
    probes = read_probes(settings.hub)
    found: dict[tuple[str, str], dict[str, list[float]]] = {
        (row.name, metric): {} for row in rows for metric in (TAU, REGRET)
    }
    for row in rows:
        for task in tasks:
            for made in _results(row, task, probes, settings):
                for metric in (TAU, REGRET):
                    found[row.name, metric].setdefault(task.task, []).append(made[metric])
    show(_report(settings, tasks, rows, found), settings, given, log)


def read_probes(hub: Path) -> dict[str, dict[str, ProbeRow]]:
    """The probes of a corpus folder, by task and candidate."""
    found: dict[str, dict[str, ProbeRow]] = {}
    for row in read_table(hub, ProbeRow):
        found.setdefault(row.task, {})[row.candidate] = row
    return found


def _results(
    row: Row, task: JudgedTask, probes: Probes, settings: argparse.Namespace
) -> list[dict[str, float]]:
    """One a seed, or one where seeds make no difference; none where the row has nothing to say."""
    known = probes.get(task.task, {})
    learned = {name: ids(pool) for name, pool in task.training.items()}
    parts = [row.note, ids(task.pool), truth(task.pool), sorted(map(repr, known.values())), learned]
    key = key_of(parts, task.surrogate if row.taught else None)
    found = []
    for seed in range(settings.seeds if row.drawn else 1):
        path = location(settings.out, task.pool, f"{row.name}-{seed}")
        found.append(stored(path, key, partial(_ask, row, task, known, seed)))
    return [made for made in found if made]


def _ask(row: Row, task: JudgedTask, probes: Mapping[str, ProbeRow], seed: int) -> dict[str, float]:
    surrogate = Surrogate.load(task.surrogate) if row.taught and task.surrogate is not None else None
    rng = np.random.default_rng(derived_seed(task.task, seed))
    foreseen = row.foresee(Question(task.pool, task.training, probes, surrogate), rng)
    true = truth(task.pool)
    if len(shared(foreseen, true)) < 2:
        return {}
    return {TAU: weighted_tau(foreseen, true), REGRET: top_regret(foreseen, true)}


def _report(
    settings: argparse.Namespace, tasks: Sequence[JudgedTask], rows: Sequence[Row], found: Found
) -> Report:
    table = [_row(row, metric, tasks, found) for row in rows for metric in (TAU, REGRET)]
    sizes = [len(truth(task.pool)) for task in tasks]
    setting = (
        f"{described(settings, tasks)}; {min(sizes)} to {max(sizes)} candidates with enough configurations, "
        "judged by the best of each; top-1 regret over the candidates' range"
    )
    everything = [row for row in [*table, *_reliability(tasks)] if row is not None]
    return Report("zero_shot", setting, everything, targets(found))


def _row(row: Row, metric: str, tasks: Sequence[JudgedTask], found: Found) -> TableRow | None:
    values = found[row.name, metric]
    if not values:
        print(f"{row.name} is left out: it has nothing to say of any task", file=sys.stderr)
        return None
    return clustered_row(f"{row.name}: {row.note}", tasks[0].pool.hub, AT, metric, values)


def _reliability(tasks: Sequence[JudgedTask]) -> list[TableRow]:
    """How well other seeds of the same configurations rank the candidates, where at least two have them."""
    pairs = {task.task: by_other_seeds(task.pool) for task in tasks}
    taus = {name: [weighted_tau(a, b)] for name, (a, b) in pairs.items() if len(a) > 1}
    if not taus:
        return []
    return [clustered_row("the truth by other seeds", tasks[0].pool.hub, AT, TAU, taus)]


def targets(found: Found) -> list[Target]:
    """Better than every row that trains nothing, and worse without weights."""
    made = []
    for row in (row for row in ROWS.values() if not row.trains):
        tau = lead(found.get((row.rival, TAU)), found.get((row.name, TAU)))
        regret = lead(found.get((row.name, REGRET)), found.get((row.rival, REGRET)))
        for metric, gap in ((TAU, tau), (REGRET, regret)):
            measured = None if gap is None else gap.value
            made.append(Target(f"{metric}: better than {row.name} by", 0.0, measured, (measured or 0) > 0))
    lost = lead(found.get((OURS, TAU)), found.get((BLIND, TAU)))
    made.append(
        Target(
            f"{TAU} lost without weights, low end of the interval above 0",
            0.0,
            None if lost is None else lost.value,
            lost is not None and lost.low > 0,
        )
    )
    return made


if __name__ == "__main__":
    main()
