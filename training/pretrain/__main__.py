"""`python -m training.pretrain --data DIR`: train the bundled checkpoints; run again to go on."""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import torch

from fms_hub.models import bundle
from fms_hub.records import Budget
from training.pretrain.plan import PLAN, planned
from training.pretrain.run import Places, is_bundled, pretrain


def main() -> None:
    """Parse the command line and train what is missing."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument(
        "--out", type=Path, default=bundle.ROOT, help="the bundle; default: the package's own"
    )
    parser.add_argument("--only", metavar="NAME", help="train this one, even if the bundle has it")
    parser.add_argument("--time-limit", default="40m", help="start no epoch after it, e.g. 40m")
    arguments = parser.parse_args()

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    deadline = time.monotonic() + (Budget.parse(arguments.time_limit).seconds or 0.0)
    places = Places(arguments.data, arguments.out)
    chosen = [planned(arguments.only)] if arguments.only else PLAN
    for pretraining in chosen:
        if arguments.only or not is_bundled(pretraining, places.bundle):
            entry = pretrain(pretraining, places, lambda: time.monotonic() > deadline)
            print(
                f"{entry.name}: accuracy {entry.accuracy:.3f}"
                if entry
                else f"{pretraining.name}: to be continued"
            )


if __name__ == "__main__":
    main()
