"""`python -m training.corpus run`: add runs to the corpus until the time is up; run again to go on."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from fms_hub.models.catalog import resolve
from fms_hub.records import Budget
from training.corpus.plan import plan
from training.corpus.run import Settings, sweep


def main() -> None:
    """Parse the command line and sweep."""
    parser = argparse.ArgumentParser(prog="python -m training.corpus")
    run = parser.add_subparsers(required=True).add_parser("run", help="train planned runs into shards")
    run.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    run.add_argument("--out", type=Path, required=True, help="folder of the shards")
    run.add_argument("--tasks", required=True, help="e.g. usps,mnist,pacs:sketch")
    run.add_argument("--candidates", default="bundled/*", help="comma-separated ids and patterns")
    run.add_argument("--runs", type=int, default=100, help="how many runs the sweep has in all")
    run.add_argument("--horizons", default="12,24", help="epochs of a run, in turn")
    run.add_argument("--images", type=int, default=2000, help="most training images of a task")
    run.add_argument("--image-size", type=int, default=32)
    run.add_argument("--time-limit", default="30m")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--device")
    run.add_argument("--timed", action="store_true", help="record seconds: nothing else runs here")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    settings = Settings(
        data=arguments.data,
        out=arguments.out,
        images=arguments.images,
        image_size=arguments.image_size,
        seconds=Budget.parse(arguments.time_limit).seconds or 0.0,
        timed=arguments.timed,
        device=arguments.device,
    )
    names = [candidate.name for candidate in resolve(arguments.candidates.split(","))]
    horizons = [int(text) for text in arguments.horizons.split(",")]
    planned = plan(arguments.tasks.split(","), names, horizons, arguments.seed)
    trained = sweep(planned, settings, arguments.runs)
    print(f"trained {trained} runs into {arguments.out}")


if __name__ == "__main__":
    main()
