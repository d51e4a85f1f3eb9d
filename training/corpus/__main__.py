"""The corpus' commands. Sweeps add runs to it until the time is up; run again to go on.

python -m training.corpus timm-tiny: fine-tuning of the timm-tiny hub's candidates by its plan.
python -m training.corpus run: fine-tuning of any candidates on any tasks.
python -m training.corpus small-cnn: small networks from scratch.
python -m training.corpus pack: see `training.corpus.transfer`.
python -m training.corpus probe, collect, describe, verify: see `training.corpus.commands`.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from fms_hub.corpus.schema import Fault
from fms_hub.corpus.shards import read_shards
from fms_hub.errors import FMSHubError, UsageError
from fms_hub.models.catalog import resolve
from fms_hub.records import Budget
from training.corpus import candidates, commands, small_cnn, small_net, timm_tiny, together, transfer
from training.corpus.packed import read_pack
from training.corpus.parallel import Sweep, in_processes
from training.corpus.plan import plan
from training.corpus.run import Settings, sweep
from training.corpus.tasks import IMAGE_SIZE, TIMM_TINY, names


def main() -> None:
    """Parse the command line and sweep."""
    parser = argparse.ArgumentParser(prog="python -m training.corpus")
    kinds = parser.add_subparsers(required=True)
    hub = kinds.add_parser("timm-tiny", help="fine-tune the timm-tiny hub's candidates by its plan")
    _add_common(hub, runs=10_000)
    hub.add_argument("--part", choices=("cells", "best"), default="cells", help="best: after the cells")
    hub.add_argument("--workers", type=int, default=1, help="processes of one thread each")
    hub.add_argument("--device")
    hub.set_defaults(command=_timm_tiny)
    run = kinds.add_parser("run", help="fine-tune candidates round by round")
    _add_common(run, runs=100)
    _add_tasks(run)
    run.add_argument("--hub", default="mixed", help="name that the runs are put under")
    run.add_argument("--candidates", default="bundled/*", help="comma-separated ids and patterns")
    run.add_argument("--horizons", default="12,24", help="epochs of a run, in turn")
    run.add_argument("--images", type=int, default=2000, help="most training images of a task")
    run.add_argument("--image-size", type=int, default=32)
    run.add_argument("--device")
    run.add_argument("--timed", action="store_true", help="record seconds: nothing else runs here")
    run.set_defaults(command=_run)
    small = kinds.add_parser("small-cnn", help="train small networks from scratch by plan")
    _add_common(small, runs=500, raw_every=8)
    _add_tasks(small)
    small.add_argument(
        "--part",
        choices=("plan", "repeats"),
        default="plan",
        help="repeats: some of what is there, once more",
    )
    small.add_argument("--together", type=int, default=1, help="networks trained at once, for GPUs")
    small.add_argument("--device", default="cpu", help="of networks trained at once")
    small.set_defaults(command=_small_cnn)
    commands.add_commands(kinds)
    transfer.add_commands(kinds)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        status = arguments.command(arguments)
    except (FMSHubError, Fault) as error:
        parser.exit(1, f"{error}\n")
    parser.exit(status)


def _add_common(parser: argparse.ArgumentParser, runs: int, raw_every: int = 0) -> None:
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of the dataset .npz files, or a pack"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards")
    parser.add_argument("--runs", type=int, default=runs, help="how many runs the sweep has in all")
    parser.add_argument("--time-limit", default="30m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--raw-every",
        type=int,
        default=raw_every,
        help="keep the weights of one run in this many; 0: of none",
    )


def _add_tasks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", required=True, help="e.g. usps,mnist; run also takes pacs:sketch")


def _timm_tiny(arguments: argparse.Namespace) -> int:
    if arguments.part == "best":
        planned = timm_tiny.best(read_shards(arguments.out), arguments.seed)
    elif arguments.data.is_file():
        planned = read_pack(arguments.data).plan()
    else:
        planned = timm_tiny.timm_tiny(TIMM_TINY, candidates.timm_tiny(), arguments.seed)
    settings = Settings(
        data=arguments.data,
        out=arguments.out,
        hub="timm-tiny",
        images=None,
        image_size=IMAGE_SIZE,
        seconds=_seconds(arguments),
        timed=False,
        device=arguments.device,
        raw_every=arguments.raw_every,
    )
    return _report(in_processes(Sweep(planned[: arguments.runs], settings), arguments.workers), arguments)


def _run(arguments: argparse.Namespace) -> int:
    settings = Settings(
        data=arguments.data,
        out=arguments.out,
        hub=arguments.hub,
        images=arguments.images,
        image_size=arguments.image_size,
        seconds=_seconds(arguments),
        timed=arguments.timed,
        device=arguments.device,
        raw_every=arguments.raw_every,
    )
    chosen = [candidate.name for candidate in resolve(arguments.candidates.split(","))]
    horizons = [int(text) for text in arguments.horizons.split(",")]
    planned = plan(names(arguments.data, arguments.tasks.split(",")), chosen, horizons, arguments.seed)
    return _report(sweep(planned, settings, arguments.runs), arguments)


def _small_cnn(arguments: argparse.Namespace) -> int:
    sweep_small = small_cnn.sweep
    if arguments.together > 1:
        sweep_small = partial(together.sweep, together=arguments.together, device=arguments.device)
    elif arguments.device != "cpu":
        raise UsageError("networks are trained on a GPU many at once; add --together 32, say.")
    if arguments.part == "repeats":
        planned = iter(small_net.repeats(read_shards(arguments.out), arguments.seed))
    else:
        planned = small_net.plan(names(arguments.data, arguments.tasks.split(",")), arguments.seed)
    trained = sweep_small(
        planned,
        data=arguments.data,
        out=arguments.out,
        runs=arguments.runs,
        seconds=_seconds(arguments),
        raw_every=arguments.raw_every,
    )
    return _report(trained, arguments)


def _report(trained: int, arguments: argparse.Namespace) -> int:
    print(f"trained {trained} runs into {arguments.out}")
    return 0


def _seconds(arguments: argparse.Namespace) -> float:
    return Budget.parse(arguments.time_limit).seconds or 0.0


if __name__ == "__main__":
    main()
