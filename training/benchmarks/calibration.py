"""Do scores lie within a surrogate's intervals? Coverage and log score of final scores, by epochs seen.

    python -m training.benchmarks.calibration --hub DIR [--surrogates DIR] [--methods fms,scratch]
        [--seeds 10] [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

After random searches of 0, 50 and 100 epochs on each task, the surrogate is fitted and conditioned as a
search does it, and asked how every run that is not finished ends (`training.benchmarks.cached.trust`). Runs
that failed are not asked about. The log score is the mean negative logarithm of the density, of scores
between guessing, 0, and perfect, 1; lower is better. Intervals are 95 %, clustered by task.

DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote. Results are stored under ``--out``,
with ``calibration.svg``, a picture of how many scores lie within intervals of all sizes.
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

from fms_hub.corpus.wholefile import write_whole
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
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
    usable,
)
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.statistics import clustered, clustered_row
from training.benchmarks.cached.trust import FIDELITIES, LEVELS, TOLD, after_search, percent
from training.pictures.panels import Panel, panels

OURS, SCRATCH = "fms", "scratch"
NOTES = {OURS: "ours, meta-trained", SCRATCH: "additive kernels, this search alone"}
SPENT = (0, 50, 100)
SLACK = 0.05
"""How far from 90 % the share of scores within 90 % intervals may be."""
SECONDS = 5.0
"""Of one search and its forecasts, at most."""
PARTS = ("all", *map(str, FIDELITIES))
Found = dict[tuple[str, int, str], dict[str, list[float]]]
"""By row, epochs of search, and "PART/NUMBER": by task, one a seed."""


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Forecast or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = table_parser("calibration")
    parser.add_argument("--methods", default=",".join(NOTES))
    settings = parse(parser, given, tuple(NOTES))
    torch.set_num_threads(1)
    tasks = judged_tasks(settings)
    names = usable({name: name == OURS for name in settings.methods.split(",")}, tasks)
    expect(len(names) * len(tasks) * len(SPENT) * settings.seeds * SECONDS / 3600)
    found = _found(settings, tasks, names)
    write_whole(settings.out / "calibration.svg", picture(tasks[0].pool.hub, names, found).encode())
    show(_report(settings, tasks, names, found), settings, given, log)


def _found(settings: argparse.Namespace, tasks: Sequence[JudgedTask], names: Sequence[str]) -> Found:
    found: Found = {}
    for task, name, epochs in product(tasks, names, SPENT):
        if name == SCRATCH and epochs == 0:
            continue
        for seed in range(settings.seeds):
            for number, value in _one(task, name, epochs, seed, settings).items():
                by_task = found.setdefault((name, epochs, number), {})
                by_task.setdefault(task.task, []).append(value)
    return found


def _one(
    task: JudgedTask, name: str, epochs: int, seed: int, settings: argparse.Namespace
) -> Mapping[str, float]:
    path = location(settings.out, task.pool, f"{name}-{epochs}-{seed}")
    key = key_of([NOTES[name], LEVELS, ids(task.pool)], task.surrogate if name == OURS else None)
    return stored(path, key, partial(_forecast, task, name, epochs, seed))


def _forecast(task: JudgedTask, name: str, epochs: int, seed: int) -> dict[str, float]:
    path = task.surrogate if name == OURS else None
    surrogate = Surrogate() if path is None else Surrogate.load(path)
    rng = np.random.default_rng(derived_seed(task.task, seed))
    return after_search(surrogate, task.table, epochs, rng)


def _report(
    settings: argparse.Namespace, tasks: Sequence[JudgedTask], names: Sequence[str], found: Found
) -> Report:
    setting = (
        f"{described(settings, tasks)}; final scores of runs that are not finished, after random searches; "
        "'seen' are epochs of the run itself, each with those up to the next"
    )
    return Report("calibration", setting, list(_rows(tasks[0].pool.hub, names, found)), targets(found))


def _rows(hub: str, names: Sequence[str], found: Found) -> Iterator[TableRow]:
    metrics = {percent(level): f"share within {percent(level)} intervals" for level in TOLD}
    metrics["surprise"] = "log score, nats"
    for number, name, part, epochs in product(metrics, names, PARTS, SPENT):
        values = found.get((name, epochs, f"{part}/{number}"))
        if values:
            method = f"{name}: {NOTES[name]}" if part == "all" else f"{name}, {part} seen"
            yield clustered_row(method, hub, f"{epochs} epochs", metrics[number], values)


def picture(hub: str, names: Sequence[str], found: Found) -> str:
    """The share of scores that lie within intervals, against what the intervals claim, as SVG."""
    drawn = []
    for epochs in SPENT:
        curves = {"exact": [[(0.0, 0.0), (1.0, 1.0)]]}
        for name in names:
            shares = [found.get((name, epochs, f"all/{percent(level)}")) for level in LEVELS]
            seen = [(level, clustered(by).value) for level, by in zip(LEVELS, shares, strict=True) if by]
            curves |= {name: [[(0.0, 0.0), *seen, (1.0, 1.0)]]} if seen else {}
        drawn.append(Panel(f"after {epochs} epochs of search", curves, "claimed"))
    return panels(f"share of final scores within intervals, {hub}", drawn)


def targets(found: Found) -> list[Target]:
    """Ours covers about what it says: over everything, and at every fidelity over all searches."""
    made = []
    for part in PARTS:
        parts = [found.get((OURS, epochs, f"{part}/{percent(TOLD[1])}"), {}) for epochs in SPENT]
        together = {
            task: [value for by_task in parts for value in by_task.get(task, [])]
            for task in sorted({task for by_task in parts for task in by_task})
        }
        off = abs(clustered(together).value - TOLD[1]) if together else None
        where = "over everything" if part == "all" else f"with {part} epochs seen"
        made.append(
            Target(
                f"share within 90 % intervals off 0.9, at most, {where}",
                SLACK,
                off,
                off is not None and off <= SLACK,
            )
        )
    return made


if __name__ == "__main__":
    main()
