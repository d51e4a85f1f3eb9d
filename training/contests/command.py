"""What the benchmarks of live searches share: their command line, and the parts ``nets`` and ``live``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from fms_hub.errors import UsageError
from training.benchmarks.cached.report import TableRow
from training.contests.arms import Arm
from training.contests.tables import live_rows, net_rows
from training.meta_train import surrogate_without

QUICK_SEEDS = 2


def contest_parser(benchmark: str, parts: Sequence[str], quick: str) -> argparse.ArgumentParser:
    """The options that all have.

    Args:
        benchmark: its name.
        parts: that ``--parts`` may name; all of them by default.
        quick: what ``--quick`` means, for the help.
    """
    parser = argparse.ArgumentParser(prog=f"python -m training.benchmarks.{benchmark}")
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument("--parts", default=",".join(parts))
    parser.add_argument("--seeds", type=int, default=5, help="at least 2, for the intervals")
    parser.add_argument("--task", default="mnist", help="dataset of the feed-forward nets, ten classes")
    parser.add_argument("--live-tasks", default="gtsrb,flowers5")
    parser.add_argument("--surrogates", type=Path, help="folder of those that live searches start from")
    parser.add_argument("--out", type=Path, default=Path("runs") / benchmark)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help=quick)
    return parser


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse, and refuse what cannot be; ``--quick`` sets the seeds.

    Args:
        parser: of `contest_parser`, with further options.
        arguments: of the command.
    """
    parts = parser.get_default("parts").split(",")
    settings = parser.parse_args(arguments)
    settings.parts = tuple(settings.parts.split(","))
    unknown = [part for part in settings.parts if part not in parts]
    if unknown:
        parser.error(f"unknown parts {', '.join(unknown)}; there are {', '.join(parts)}.")
    if settings.seeds < 2:
        parser.error(f"intervals need at least 2 seeds, found {settings.seeds}.")
    if settings.quick:
        settings.seeds = QUICK_SEEDS
    try:
        settings.surrogates = _surrogates(settings.surrogates, settings.live_tasks.split(","))
    except UsageError as error:
        parser.error(str(error))
    return settings


def searched(settings: argparse.Namespace, arms: Sequence[Arm]) -> list[TableRow]:
    """The rows of the parts ``nets`` and ``live``, as far as they are asked for."""
    seeds, found = range(settings.seeds), list[TableRow]()
    if "nets" in settings.parts:
        found += net_rows(settings.data, settings.task, arms, seeds, settings.out, quick=settings.quick)
    if "live" in settings.parts:
        tasks = settings.live_tasks.split(",")
        found += live_rows(
            settings.data, tasks, arms, seeds, settings.out, settings.surrogates, quick=settings.quick
        )
    return found


def _surrogates(folder: Path | None, tasks: Sequence[str]) -> dict[str, str]:
    """Files by task."""
    return {} if folder is None else {task: str(surrogate_without(folder, task)) for task in tasks}
