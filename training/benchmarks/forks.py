"""Searches that may fork a kept checkpoint under other hyperparameters, against searches that may not.

    python -m training.benchmarks.forks --data DIR [--parts nets,live] [--seeds 5]
        [--task mnist] [--live-tasks gtsrb,flowers5] [--out DIR] [--json] [--quick]

nets     Searches over feed-forward nets of three widths and five hyperparameters, 40 epochs each, horizon 8.
live     Searches over the bundled candidates on 600 images at 32 pixels, 32 epochs each, horizon 8; a picture
         goes to DIR of ``--out``.

A fork has no cached future, so that all of this is trained. Intervals are 95 % by Student's t over seeds, of
paired differences where two kinds are compared. What is finished in DIR of ``--out`` is read back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch

from training.benchmarks.cached.report import Report
from training.contests.arms import FORKING, LOCAL
from training.contests.command import contest_parser, parse, searched

PARTS = ("nets", "live")


def main(arguments: Sequence[str] | None = None) -> None:
    """Search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = parse(contest_parser("forks", PARTS, "two seeds and short searches: to try it out"), given)
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    setting = f"{settings.seeds} seeds" + ("; quick, short searches" if settings.quick else "")
    report = Report("forks", setting, searched(settings, (LOCAL, FORKING)), [])
    print(report.json() if settings.json else report.markdown())


if __name__ == "__main__":
    main()
