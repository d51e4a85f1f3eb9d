"""What the tables over cached runs share: their command line, the tasks they judge, and what is stored."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from fms_hub.corpus.wholefile import write_whole
from training.benchmarks.cached.environment import BUDGET
from training.benchmarks.cached.folds import folds
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.report import Report, append_log
from training.benchmarks.cached.start import hub_pools
from training.benchmarks.cached.statistics import clustered
from training.corpus.splits import read_splits
from training.meta.table import Table, table_of
from training.meta_train import surrogate_of
from training.worth.scores import Interval

QUICK_TASKS, QUICK_SEEDS, QUICK_BUDGET = 2, 2, 30
ByTask = Mapping[str, Sequence[float]]
"""By task, one a seed."""


@dataclass(frozen=True)
class JudgedTask:
    """A task to judge on.

    Attributes:
        task: name.
        pool: its runs.
        surrogate: file of the one that never saw its group, if there is one.
        training: pools that may be learned from.
        groups: that were left out with it.
    """

    task: str
    pool: Pool
    surrogate: Path | None = None
    training: Mapping[str, Pool] = field(default_factory=dict)
    groups: frozenset[str] = frozenset()

    @cached_property
    def table(self) -> Table:
        """All questions about its runs, encoded when they are first needed."""
        return table_of(self.pool)


def table_parser(benchmark: str) -> argparse.ArgumentParser:
    """The options that all tables have."""
    parser = argparse.ArgumentParser(prog=f"python -m training.benchmarks.{benchmark}")
    parser.add_argument("--hub", type=Path, required=True, help="folder of the shards of one hub")
    parser.add_argument("--surrogates", type=Path, help="folder that training.meta_train --held-out wrote")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--split", choices=("meta-validation", "meta-test"), default="meta-validation")
    parser.add_argument("--out", type=Path, default=Path("runs") / benchmark)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two tasks, two seeds: to try it out")
    return parser


def parse(
    parser: argparse.ArgumentParser, arguments: Sequence[str], methods: Sequence[str] = ()
) -> argparse.Namespace:
    """Parse, and refuse what cannot be; ``--quick`` sets the seeds.

    Args:
        parser: of `table_parser`, with further options.
        arguments: of the command.
        methods: names that ``--methods`` may have, where there is such an option.
    """
    settings = parser.parse_args(arguments)
    unknown = [name for name in settings.methods.split(",") if name not in methods] if methods else []
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}; there are {', '.join(methods)}.")
    if settings.seeds < 1:
        parser.error(f"--seeds must be at least 1, found {settings.seeds}.")
    if settings.quick and settings.split == "meta-test":
        parser.error("--quick is for trying out, on meta-validation; meta-test is looked at in full.")
    if settings.quick:
        settings.seeds = QUICK_SEEDS
    return settings


def searches_parser(benchmark: str, methods: Iterable[str]) -> argparse.ArgumentParser:
    """The options of tables of whole searches, by any of the methods."""
    parser = table_parser(benchmark)
    parser.add_argument("--methods", default=",".join(methods))
    parser.add_argument("--budget", type=int, default=BUDGET, help=f"epochs; {QUICK_BUDGET} with --quick")
    return parser


def parse_searches(
    parser: argparse.ArgumentParser, arguments: Sequence[str], methods: Sequence[str]
) -> argparse.Namespace:
    """As `parse`; ``--quick`` sets the budget, too."""
    settings = parse(parser, arguments, methods)
    if settings.quick:
        settings.budget = QUICK_BUDGET
    return settings


def judged_tasks(settings: argparse.Namespace) -> list[JudgedTask]:
    """The tasks of the split, each with what may be learned from; with ``--quick`` the first two.

    Raises:
        UsageError: the folder holds no hub, or no task of the split.
    """
    return judged_of(hub_pools(settings.hub), settings)


def judged_of(everything: Mapping[str, Pool], settings: argparse.Namespace) -> list[JudgedTask]:
    """The same of pools that are read already.

    Raises:
        UsageError: no task is in the split.
    """
    found = []
    for fold in folds(everything, read_splits(), settings.split):
        surrogate = surrogate_of(settings.surrogates, fold.groups)
        found += [
            JudgedTask(task, pool, surrogate, fold.training, fold.groups)
            for task, pool in fold.judged.items()
        ]
    return found[:QUICK_TASKS] if settings.quick else found


def usable(taught: Mapping[str, bool], tasks: Sequence[JudgedTask]) -> list[str]:
    """The methods that can be judged: those that need a surrogate (True) only if every task has one."""
    without = ", ".join(task.task for task in tasks if task.surrogate is None)
    for name in (name for name, needs in taught.items() if needs and without):
        print(f"{name} is left out: no surrogate for {without}", file=sys.stderr)
    return [name for name, needs in taught.items() if not (needs and without)]


def expect(hours: float) -> None:
    """Say how long it will take at most, before it begins."""
    print(f"at most {hours:.2f} hours", file=sys.stderr, flush=True)


def location(out: Path, pool: Pool, name: str) -> Path:
    """Where a result on a pool is stored."""
    folder = "".join(c if c.isalnum() or c in "-_" else "_" for c in pool.task.name)
    return out / pool.hub / folder / f"{name}.json"


def key_of(parts: object, surrogate: Path | None = None) -> str:
    """Changes with everything that a stored result depends on, but the code: JSON, and a surrogate's file."""
    digest = hashlib.sha256(json.dumps(parts).encode())
    if surrogate is not None:
        digest.update(surrogate.read_bytes())
    return digest.hexdigest()[:16]


def ids(pool: Pool) -> list[str]:
    """Of the runs of a pool: what they are told apart by."""
    return [run.id for run in pool.runs]


def stored(path: Path, key: str, make: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """The numbers that were stored under this key, else those that are made now, which are stored."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if content.pop("key", None) == key:
        return {name: float(value) for name, value in content.items()}
    made = dict(make())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"key": key, **made}).encode())
    return made


def lead(ours: ByTask | None, theirs: ByTask | None) -> Interval | None:
    """Ours minus a rival's, on the tasks that both have: paired by seed where each has as many, else by mean.

    None where either was not judged, or no task is shared.
    """
    if ours is None or theirs is None:
        return None
    gaps = {task: _gaps(ours[task], theirs[task]) for task in ours if task in theirs}
    return clustered(gaps) if gaps else None


def _gaps(ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    if len(ours) == len(theirs):
        return [a - b for a, b in zip(ours, theirs, strict=True)]
    return [float(np.mean(ours) - np.mean(theirs))]


def described(settings: argparse.Namespace, tasks: Sequence[JudgedTask]) -> str:
    """The setting in words: hub, split, tasks and their pools, seeds."""
    sizes = [len(task.pool.runs) for task in tasks]
    return (
        f"hub {tasks[0].pool.hub}, {settings.split}, {len(tasks)} tasks "
        f"({', '.join(task.task for task in tasks)}), pools of {min(sizes)} to {max(sizes)} runs, "
        f"{settings.seeds} seeds"
    )


def show(report: Report, settings: argparse.Namespace, arguments: Sequence[str], log: Path) -> None:
    """Print, and write a look at meta-test into the log."""
    if settings.split == "meta-test":
        append_log(report, arguments, log)
    print(report.json() if settings.json else report.markdown())
