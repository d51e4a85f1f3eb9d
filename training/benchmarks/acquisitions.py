"""Which acquisition rule finds the best network: live searches over the bundled candidates.

    python -m training.benchmarks.acquisitions --data DIR [--surrogates DIR] [--rules ei,random-horizon]
        [--live-tasks gtsrb,flowers5] [--seeds 5] [--out DIR] [--json] [--quick]

Searches of 32 epochs, horizon 8, on 600 images at 32 pixels; every rule gets the same task, seed and number
of epochs. The first rule is what the others are compared with. DIR of ``--surrogates`` is what
`training.meta_train --held-out` wrote; without it searches learn from themselves alone. Intervals are 95 % by
Student's t over seeds. A picture goes to DIR of ``--out``, and what is finished there is read back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import get_args

import torch

from fms_hub.search.acquisition import Rule
from training.benchmarks.cached.report import Report
from training.contests.arms import Arm
from training.contests.command import contest_parser, parse, searched

RULES: tuple[Rule, ...] = get_args(Rule)


def main(arguments: Sequence[str] | None = None) -> None:
    """Search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = contest_parser("acquisitions", ("live",), "two seeds and short searches: to try it out")
    parser.add_argument("--rules", default=",".join(RULES))
    settings = parse(parser, given)
    rules = settings.rules.split(",")
    unknown = [rule for rule in rules if rule not in RULES]
    if unknown:
        parser.error(f"unknown rules {', '.join(unknown)}; there are {', '.join(RULES)}.")
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    start = (
        "meta-trained without the task's group" if settings.surrogates else "learning from the search alone"
    )
    setting = f"{settings.seeds} seeds, {start}" + ("; quick, short searches" if settings.quick else "")
    arms = [Arm(rule, rule=rule) for rule in rules]
    report = Report("acquisitions", setting, searched(settings, arms), [])
    print(report.json() if settings.json else report.markdown())


if __name__ == "__main__":
    main()
