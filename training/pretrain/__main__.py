"""`python -m training.pretrain --data DIR`: train the checkpoints of a plan; run again to go on."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch

from fms_hub.models import bundle
from fms_hub.records import Budget
from training.pretrain.plan import PLAN
from training.pretrain.run import Places, is_bundled, pretrain
from training.pretrain.sources import SOURCES

PLANS = {"bundled": (PLAN, bundle.ROOT), "source": (SOURCES, Path("training/corpus/sources"))}
"""What each plan consists of, and where its checkpoints go."""


def main() -> None:
    """Parse the command line and train what is missing."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument("--plan", choices=PLANS, default="bundled")
    parser.add_argument("--out", type=Path, help="the bundle; default: the plan's own")
    parser.add_argument("--only", metavar="NAME", help="train this one, even if the bundle has it")
    parser.add_argument("--time-limit", default="40m", help="start no epoch after it, e.g. 40m")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    deadline = time.monotonic() + (Budget.parse(arguments.time_limit).seconds or 0.0)
    plan, home = PLANS[arguments.plan]
    places = Places(arguments.data, arguments.out or home, arguments.plan)
    chosen = [p for p in plan if arguments.only in (None, p.name)]
    if not chosen:
        parser.error(f"the plan has no {arguments.only!r}; it has {', '.join(p.name for p in plan)}")
    for pretraining in chosen:
        if arguments.only or not is_bundled(pretraining, places):
            entry = pretrain(pretraining, places, lambda: time.monotonic() > deadline)
            print(
                f"{entry.name}: accuracy {entry.accuracy:.3f}"
                if entry
                else f"{pretraining.name}: to be continued"
            )


if __name__ == "__main__":
    main()
