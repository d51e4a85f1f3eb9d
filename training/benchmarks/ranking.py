"""How well methods foresee how every run of a pool ends: Kendall's tau after 50 and 100 epochs of search.

    python -m training.benchmarks.ranking --hub DIR [--surrogates DIR] [--methods fms,dyhpo] [--seeds 10]
        [--at 50,100] [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

Each method searches the pool of a task (`training.benchmarks.cached`) and then predicts the final scores of
all its runs; tau is between these and the scores that the corpus has, failed runs counting as 0. The rows are
those of the paper's Table 1 (Mehta et al. 2024) as far as they need no raw weights, the surrogate's rivals on
equal inputs, and the noise ceiling. DIR of ``--surrogates`` is what `training.meta_train --held-out` wrote: a
task is judged with the surrogate that never saw its group; without it the meta-trained rows are left out.
Intervals are 95 %, clustered by task.

Expected hours are printed first; every search is stored under ``--out`` and not repeated, unless the pool or
the surrogate is another. ``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fms_hub.corpus.wholefile import write_whole
from fms_hub.finetune.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.folds import folds
from training.benchmarks.cached.pool import Pool, pools
from training.benchmarks.cached.rankers import ROWS, Row
from training.benchmarks.cached.report import LOG, Report, TableRow, Target, append_log
from training.benchmarks.cached.start import start_sketches
from training.benchmarks.cached.statistics import Repeated, clustered, kendall, noise_ceiling
from training.corpus.small_net import CANDIDATE as SMALL_CNN
from training.corpus.splits import read_splits
from training.meta_train import surrogate_of
from training.worth.scores import Interval

OURS, PEER, RIVALS = "fms", "dyhpo", ("trees", "scratch", "gp")
SHARE_OF_CEILING, AHEAD = 0.9, 0.1
QUICK_TASKS, QUICK_SEEDS, QUICK_AT = 2, 2, (20,)
Taus = Mapping[str, list[float]]
"""By task, one a seed."""


@dataclass(frozen=True)
class Judged:
    """A task to judge on, and the file of the surrogate that never saw its group."""

    task: str
    pool: Pool
    surrogate: Path | None


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = _parse(given)
    torch.set_num_threads(1)
    tasks = _tasks(settings)
    rows = list(_rows(settings, tasks))
    at = QUICK_AT if settings.quick else tuple(int(text) for text in settings.at.split(","))
    hours = sum(row.seconds * e / 100 for row in rows for e in at) * len(tasks) * settings.seeds / 3600
    print(f"at most {hours:.2f} hours of searches", file=sys.stderr, flush=True)
    taus = {
        (row.name, epochs): {task.task: _taus(row, task, epochs, settings) for task in tasks}
        for row in rows
        for epochs in at
    }
    report = _report(settings, tasks, rows, at, taus)
    if settings.split == "meta-test":
        append_log(report, given, log)
    print(report.json() if settings.json else report.markdown())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.ranking")
    parser.add_argument("--hub", type=Path, required=True, help="folder of the shards of one hub")
    parser.add_argument("--surrogates", type=Path, help="folder that training.meta_train --held-out wrote")
    parser.add_argument("--methods", default=",".join(ROWS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--at", default="50,100", help="epochs of search")
    parser.add_argument("--split", choices=("meta-validation", "meta-test"), default="meta-validation")
    parser.add_argument("--out", type=Path, default=Path("runs/ranking"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two tasks, two seeds, 20 epochs: to try it out")
    settings = parser.parse_args(arguments)
    unknown = [name for name in settings.methods.split(",") if name not in ROWS]
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}; there are {', '.join(ROWS)}.")
    if settings.quick and settings.split == "meta-test":
        parser.error("--quick is for trying out, on meta-validation; meta-test is looked at in full.")
    if settings.quick:
        settings.seeds = QUICK_SEEDS
    return settings


def _tasks(settings: argparse.Namespace) -> list[Judged]:
    read = pools(settings.hub)
    names = {run.candidate for pool in read.values() for run in pool.runs} - {SMALL_CNN}
    if names:
        read = pools(settings.hub, start_sketches(names))
    found = []
    for fold in folds(read, read_splits(), settings.split):
        surrogate = surrogate_of(settings.surrogates, fold.groups)
        found += [Judged(task, pool, surrogate) for task, pool in fold.judged.items()]
    return found[:QUICK_TASKS] if settings.quick else found


def _rows(settings: argparse.Namespace, tasks: Sequence[Judged]) -> Iterator[Row]:
    without = [task.task for task in tasks if task.surrogate is None]
    for name in settings.methods.split(","):
        if ROWS[name].taught and without:
            print(f"{name} is left out: no surrogate for {', '.join(without)}", file=sys.stderr)
        else:
            yield ROWS[name]


def _taus(row: Row, task: Judged, epochs: int, settings: argparse.Namespace) -> list[float]:
    """One a seed; each is stored when it is known."""
    key = _key(row, task)
    found = []
    for seed in range(settings.seeds):
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in task.task)
        path = settings.out / task.pool.hub / name / f"{row.name}-{epochs}-{seed}.json"
        tau = _stored(path, key)
        if tau is None:
            tau = _search(row, task, epochs, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"key": key, "tau": tau}).encode())
        found.append(tau)
    return found


def _search(row: Row, task: Judged, epochs: int, seed: int) -> float:
    surrogate = Surrogate.load(task.surrogate) if row.taught and task.surrogate is not None else None
    rng = np.random.default_rng(derived_seed(task.task, seed))
    predicted = row.make(surrogate)(Environment(task.pool, epochs), rng)
    return kendall(predicted, task.pool.finals())


def _key(row: Row, task: Judged) -> str:
    """Changes with everything that a stored result depends on, but the code."""
    digest = hashlib.sha256(json.dumps([row.note, [run.id for run in task.pool.runs]]).encode())
    if row.taught and task.surrogate is not None:
        digest.update(task.surrogate.read_bytes())
    return digest.hexdigest()[:16]


def _stored(path: Path, key: str) -> float | None:
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return float(content["tau"]) if content.get("key") == key else None


def _report(
    settings: argparse.Namespace,
    tasks: Sequence[Judged],
    rows: Sequence[Row],
    at: Sequence[int],
    taus: Mapping[tuple[str, int], Taus],
) -> Report:
    hub, ceiling = tasks[0].pool.hub, _ceiling(tasks)
    table = [
        _row(f"{row.name}: {row.note}", hub, f"{epochs} epochs", clustered(taus[row.name, epochs]), taus)
        for row in rows
        for epochs in at
    ]
    if ceiling is not None:
        table += [_row("noise ceiling", hub, f"{epochs} epochs", ceiling, taus) for epochs in at]
    sizes = [len(task.pool.runs) for task in tasks]
    setting = (
        f"hub {hub}, {settings.split}, {len(tasks)} tasks ({', '.join(task.task for task in tasks)}), pools "
        f"of {min(sizes)} to {max(sizes)} runs, {settings.seeds} seeds; Kendall's tau of predicted against "
        "true final scores of all runs of the pool"
    )
    return Report("ranking", setting, table, targets(taus, at, ceiling))


def _row(method: str, hub: str, at: str, tau: Interval, taus: Mapping[tuple[str, int], Taus]) -> TableRow:
    searches = sum(len(scores) for scores in next(iter(taus.values())).values())
    return TableRow(method, hub, at, "Kendall's tau", tau.value, tau.low, tau.high, searches)


def _ceiling(tasks: Sequence[Judged]) -> Interval | None:
    """None where no configuration was repeated."""
    repeated = {task.task: Repeated.of(task.pool) for task in tasks}
    return noise_ceiling(repeated) if any(task.repeats for task in repeated.values()) else None


def targets(
    taus: Mapping[tuple[str, int], Taus], at: Sequence[int], ceiling: Interval | None
) -> list[Target]:
    """What the table must show: close to the ceiling, ahead of DyHPO, above what is simple."""
    last, first = max(at), min(at)
    ours = _mean(taus, OURS, last)
    share = None if ours is None or ceiling is None else ours / ceiling.value
    lead = _lead(taus, PEER, first)
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
            None if lead is None else lead.value,
            lead is not None and lead.value >= AHEAD and lead.low > 0,
        ),
    ]
    for rival in RIVALS:
        gap = _lead(taus, rival, last)
        measured = None if gap is None else gap.value
        found.append(
            Target(f"tau minus that of {rival} at {last} epochs", 0.0, measured, (measured or 0) > 0)
        )
    return found


def _mean(taus: Mapping[tuple[str, int], Taus], name: str, at: int) -> float | None:
    return clustered(taus[name, at]).value if (name, at) in taus else None


def _lead(taus: Mapping[tuple[str, int], Taus], rival: str, at: int) -> Interval | None:
    """Ours minus a rival's, paired by task and seed."""
    if (OURS, at) not in taus or (rival, at) not in taus:
        return None
    ours, theirs = taus[OURS, at], taus[rival, at]
    return clustered({t: list(np.array(ours[t]) - np.array(theirs[t])) for t in ours})


if __name__ == "__main__":
    main()
