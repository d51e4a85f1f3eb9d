"""What the first epochs of a run, and its weights, say of its end: Kendall's tau by epochs seen.

    python -m training.benchmarks.fidelity --hub DIR [--surrogates DIR] [--methods fms,last-score]
        [--seeds 10] [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

Of all runs of a task the same number of epochs was seen, and nothing else of the task; foreseen is how each
ends, and tau is between that and how it ended. Runs that failed are not asked about. Each seed ranks another
four fifths of the runs. Intervals are 95 %, clustered by task.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote. Results are stored under ``--out``.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
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
from training.benchmarks.cached.ours import WITHOUT_WEIGHTS, blinded
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.searches import SHARE, share
from training.benchmarks.cached.statistics import clustered_row, kendall
from training.benchmarks.cached.trust import FIDELITIES
from training.meta.table import Table

OURS, BLIND, LAST = "fms", "fms-no-weights", "last-score"
NOTES = {
    OURS: "ours, meta-trained",
    BLIND: "without weights",
    "fms-no-curve": "without the curve",
    LAST: "the last score seen",
}
WITHOUT: Mapping[str, frozenset[str]] = {BLIND: WITHOUT_WEIGHTS, "fms-no-curve": frozenset({"curve"})}
MATTER = (0, 1, 2)
"""Epochs seen at which weights are to be worth something."""
SECONDS = 5.0
"""Of a row on a task, at most."""
Vector = NDArray[np.float64]
Found = Mapping[tuple[str, int], ByTask]
"""Tau by row and epochs seen."""


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Ask or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = table_parser("fidelity")
    parser.add_argument("--methods", default=",".join(NOTES))
    settings = parse(parser, given, tuple(NOTES))
    torch.set_num_threads(1)
    tasks = judged_tasks(settings)
    names = usable({name: name != LAST for name in settings.methods.split(",")}, tasks)
    expect(len(names) * len(tasks) * SECONDS / 3600)
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    for task, name in product(tasks, names):
        made = _taus(task, name, settings)
        for seen, seed in product(FIDELITIES, range(settings.seeds)):
            value = made.get(f"{seen}/{seed}")
            if value is not None and (name != LAST or seen):
                found.setdefault((name, seen), {}).setdefault(task.task, []).append(value)
    setting = (
        f"{described(settings, tasks)} with {SHARE:.0%} of the runs each; Kendall's tau of foreseen against "
        "true final scores, nothing else of the task being known"
    )
    report = Report("fidelity", setting, list(_rows(tasks[0].pool.hub, found)), targets(found))
    show(report, settings, given, log)


def _taus(task: JudgedTask, name: str, settings: argparse.Namespace) -> dict[str, float]:
    """By "SEEN/SEED"."""
    parts = [NOTES[name], ids(task.pool), settings.seeds, FIDELITIES]
    key = key_of(parts, None if name == LAST else task.surrogate)
    return stored(location(settings.out, task.pool, name), key, partial(_asked, task, name, settings.seeds))


def _asked(task: JudgedTask, name: str, seeds: int) -> dict[str, float]:
    table = task.table
    found = {}
    for seen in FIDELITIES:
        runs = table.finished[table.horizons[table.finished] > seen]
        if len(runs) < 3:
            continue
        rows = table.row[runs, seen, table.horizons[runs]]
        foreseen, true = foresee(task, name, table, rows), table.scores[rows]
        for seed in range(seeds):
            chosen = share(len(runs), derived_seed(task.task, seed))
            found[f"{seen}/{seed}"] = kendall(foreseen[chosen], true[chosen])
    return found


def foresee(task: JudgedTask, name: str, table: Table, rows: NDArray[np.int64]) -> Vector:
    """What a row of the table says of questions (n,), without an observation."""
    asked = table.inputs.rows(rows)
    if name == LAST:
        return np.nan_to_num(asked.curve[:, 1], nan=0.0)
    assert task.surrogate is not None
    return Surrogate.load(task.surrogate).posterior(blinded(asked, WITHOUT.get(name, frozenset()))).mean


def _rows(hub: str, found: Found) -> Iterator[TableRow]:
    for name, seen in product(NOTES, FIDELITIES):
        if (name, seen) in found:
            method = f"{name}: {NOTES[name]}"
            yield clustered_row(method, hub, f"{seen} epochs seen", "Kendall's tau", found[name, seen])


def targets(found: Found) -> list[Target]:
    """Weights matter early."""
    made = []
    for seen in MATTER:
        gap = lead(found.get((OURS, seen)), found.get((BLIND, seen)))
        name = f"tau lost without weights with {seen} epochs seen, low end of the interval above 0"
        made.append(Target(name, 0.0, None if gap is None else gap.low, gap is not None and gap.low > 0))
    return made


if __name__ == "__main__":
    main()
