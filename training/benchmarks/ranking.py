"""How well methods foresee how every run of a pool ends: Kendall's tau after 50 and 100 epochs of search.

    python -m training.benchmarks.ranking --hub DIR [--surrogates DIR] [--methods fms,dyhpo] [--seeds 10]
        [--at 50,100] [--raw] [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

After a random search over the pool of a task (`training.benchmarks.cached`), half of whose epochs begin new
runs, the final scores of all its runs are predicted; tau is between these and the scores that the corpus has,
failed runs counting as 0. The rows of a seed see the same epochs, but those that say "own search". They are
those of the paper's Table 1 (Mehta et al. 2024), the surrogate's rivals on equal inputs, and the noise
ceiling. Those that read weights themselves are there with ``--raw``, which takes the runs alone whose weights
were kept. DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote: a task is judged with the
surrogate that never saw its group; without it the meta-trained rows are left out. Intervals are 95 %,
clustered by task.

Expected hours are printed first; every search is stored under ``--out`` and not repeated, unless the pool or
the surrogate is another. ``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.judging import (
    ByTask,
    JudgedTask,
    described,
    expect,
    ids,
    judged_of,
    key_of,
    lead,
    location,
    parse,
    show,
    stored,
    table_parser,
    usable,
)
from training.benchmarks.cached.pool import with_weights
from training.benchmarks.cached.rankers import ROWS, Row
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.start import hub_pools
from training.benchmarks.cached.statistics import Repeated, clustered, kendall, noise_ceiling
from training.worth.scores import Interval

OURS, PEER, RIVALS = "fms", "dyhpo", ("trees", "scratch", "gp")
SHARE_OF_CEILING, AHEAD = 0.9, 0.1
QUICK_AT = (20,)


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _parse(given)
    torch.set_num_threads(1)
    tasks = _tasks(settings)
    names = settings.methods.split(",")
    rows = [ROWS[name] for name in usable({name: ROWS[name].taught for name in names}, tasks)]
    at = QUICK_AT if settings.quick else tuple(int(text) for text in settings.at.split(","))
    hours = sum(row.seconds * e / 100 for row in rows for e in at) * len(tasks) * settings.seeds / 3600
    expect(hours)
    taus = {
        (row.name, epochs): {task.task: _taus(row, task, epochs, settings) for task in tasks}
        for row in rows
        for epochs in at
    }
    show(_report(settings, tasks, rows, at, taus), settings, given, log)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = table_parser("ranking")
    parser.add_argument("--methods", help="default: all, without --raw those that need it not")
    parser.add_argument("--at", default="50,100", help="epochs of search; 20 with --quick")
    parser.add_argument("--raw", action="store_true", help="only runs whose weights were kept")
    raw = parser.parse_known_args(arguments)[0].raw
    parser.set_defaults(methods=",".join(name for name, row in ROWS.items() if raw or not row.raw))
    settings = parse(parser, arguments, tuple(ROWS))
    reading = [name for name in settings.methods.split(",") if ROWS[name].raw]
    if reading and not settings.raw:
        parser.error(f"{', '.join(reading)} read weights themselves, which needs --raw.")
    if settings.raw:
        settings.out /= "raw"
    return settings


def _tasks(settings: argparse.Namespace) -> list[JudgedTask]:
    found = hub_pools(settings.hub)
    return judged_of(with_weights(found, settings.hub) if settings.raw else found, settings)


def _taus(row: Row, task: JudgedTask, epochs: int, settings: argparse.Namespace) -> list[float]:
    """One a seed; each is stored when it is known."""
    key = key_of([row.note, ids(task.pool)], task.surrogate if row.taught else None)
    found = []
    for seed in range(settings.seeds):
        path = location(settings.out, task.pool, f"{row.name}-{epochs}-{seed}")
        found.append(stored(path, key, partial(_search, row, task, epochs, seed))["tau"])
    return found


def _search(row: Row, task: JudgedTask, epochs: int, seed: int) -> dict[str, float]:
    surrogate = Surrogate.load(task.surrogate) if row.taught and task.surrogate is not None else None
    rng = np.random.default_rng(derived_seed(task.task, seed))
    predicted = row.make(surrogate)(Environment(task.pool, epochs), rng)
    return {"tau": kendall(predicted, task.pool.finals())}


def _report(
    settings: argparse.Namespace,
    tasks: Sequence[JudgedTask],
    rows: Sequence[Row],
    at: Sequence[int],
    taus: Mapping[tuple[str, int], ByTask],
) -> Report:
    hub, ceiling = tasks[0].pool.hub, _ceiling(tasks)
    table = [
        _row(f"{row.name}: {row.note}", hub, f"{epochs} epochs", clustered(taus[row.name, epochs]), taus)
        for row in rows
        for epochs in at
    ]
    if ceiling is not None:
        table += [_row("noise ceiling", hub, f"{epochs} epochs", ceiling, taus) for epochs in at]
    kept = " whose weights were kept" if settings.raw else ""
    setting = (
        f"{described(settings, tasks)}; Kendall's tau of predicted against true final scores of all runs of "
        f"the pool{kept}, after the same random searches unless a row says otherwise"
    )
    return Report("ranking", setting, table, targets(taus, at, ceiling))


def _row(method: str, hub: str, at: str, tau: Interval, taus: Mapping[tuple[str, int], ByTask]) -> TableRow:
    searches = sum(len(scores) for scores in next(iter(taus.values())).values())
    return TableRow(method, hub, at, "Kendall's tau", tau.value, tau.low, tau.high, searches)


def _ceiling(tasks: Sequence[JudgedTask]) -> Interval | None:
    """None where no configuration was repeated."""
    repeated = {task.task: Repeated.of(task.pool) for task in tasks}
    return noise_ceiling(repeated) if any(task.repeats for task in repeated.values()) else None


def targets(
    taus: Mapping[tuple[str, int], ByTask], at: Sequence[int], ceiling: Interval | None
) -> list[Target]:
    """What the table must show: close to the ceiling, ahead of DyHPO, above what is simple."""
    last, first = max(at), min(at)
    ours = _mean(taus, OURS, last)
    share = None if ours is None or ceiling is None else ours / ceiling.value
    ahead = lead(taus.get((OURS, first)), taus.get((PEER, first)))
    found = [
        Target(
            f"tau at {last} epochs over the noise ceiling",
            SHARE_OF_CEILING,
            share,
            share is not None and share >= SHARE_OF_CEILING,
        ),
        Target(
            f"tau minus DyHPO's at {first} epochs, low end of the interval above 0",
            AHEAD,
            None if ahead is None else ahead.value,
            ahead is not None and ahead.value >= AHEAD and ahead.low > 0,
        ),
    ]
    for rival in RIVALS:
        gap = lead(taus.get((OURS, last)), taus.get((rival, last)))
        measured = None if gap is None else gap.value
        found.append(
            Target(f"tau minus that of {rival} at {last} epochs", 0.0, measured, (measured or 0) > 0)
        )
    return found


def _mean(taus: Mapping[tuple[str, int], ByTask], name: str, at: int) -> float | None:
    return clustered(taus[name, at]).value if (name, at) in taus else None


if __name__ == "__main__":
    main()
