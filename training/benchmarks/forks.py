"""Searches that may fork a kept checkpoint under other hyperparameters, against searches that may not.

    python -m training.benchmarks.forks --data DIR [--parts nets,live] [--seeds 5]
        [--task mnist] [--live-tasks gtsrb,flowers5] [--out DIR] [--json] [--quick]

nets     Searches over feed-forward nets of three widths and five hyperparameters, 40 epochs each, horizon 8.
live     Searches over the bundled candidates on 600 images at 32 pixels, 32 epochs each, horizon 8.

A fork has no cached future, so that all of this is trained. Intervals are 95 % by Student's t over seeds, of
paired differences where two kinds are compared. What is finished in DIR of ``--out`` is read back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from training.benchmarks.cached.report import Report, TableRow
from training.contests.arms import FORKING, LOCAL
from training.contests.tables import live_rows, net_rows

PARTS = ("nets", "live")
ARMS = (LOCAL, FORKING)
QUICK_SEEDS = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Search or read back, print the table or JSON."""
    settings = _parse(list(sys.argv[1:] if arguments is None else arguments))
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    seeds, found = range(settings.seeds), list[TableRow]()
    if "nets" in settings.parts:
        found += net_rows(settings.data, settings.task, ARMS, seeds, settings.out, quick=settings.quick)
    if "live" in settings.parts:
        tasks = settings.live_tasks.split(",")
        found += live_rows(settings.data, tasks, ARMS, seeds, settings.out, quick=settings.quick)
    setting = f"{settings.seeds} seeds" + ("; quick, short searches" if settings.quick else "")
    report = Report("forks", setting, found, [])
    print(report.json() if settings.json else report.markdown())


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.forks")
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--seeds", type=int, default=5, help="at least 2, for the intervals")
    parser.add_argument("--task", default="mnist", help="dataset of the feed-forward nets, ten classes")
    parser.add_argument("--live-tasks", default="gtsrb,flowers5")
    parser.add_argument("--out", type=Path, default=Path("runs/forks"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two seeds and short searches: to try it out")
    settings = parser.parse_args(arguments)
    settings.parts = tuple(settings.parts.split(","))
    unknown = [part for part in settings.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown parts {', '.join(unknown)}; there are {', '.join(PARTS)}.")
    if settings.seeds < 2:
        parser.error(f"intervals need at least 2 seeds, found {settings.seeds}.")
    if settings.quick:
        settings.seeds = QUICK_SEEDS
    return settings


if __name__ == "__main__":
    main()
