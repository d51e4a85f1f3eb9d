"""The corpus' commands that train no runs of their own.

python -m training.corpus describe: what is there, and what is missing.
python -m training.corpus collect: the runs of several folders in few large shards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.corpus.collect import Kept, collect
from training.corpus.describe import describe, write_picture
from training.corpus.holdings import DATA


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add these commands to the parser of `python -m training.corpus`."""
    described = commands.add_parser("describe", help="count what is there and name what is missing")
    described.add_argument("folder", type=Path, nargs="?", default=DATA)
    described.add_argument("--json", action="store_true")
    described.add_argument("--picture", type=Path, help="an .svg of the score distributions")
    described.set_defaults(command=_describe)
    collected = commands.add_parser("collect", help="gather folders of shards into few large shards")
    collected.add_argument("folders", type=Path, nargs="+")
    collected.add_argument("--out", type=Path, required=True)
    collected.add_argument("--data", type=Path, help="dataset files, for shards of schema version 1")
    collected.add_argument(
        "--raw-every", type=int, default=1, help="keep the weights of one run in this many"
    )
    collected.add_argument("--raw-epochs", help="keep weights only after these epochs and the last, e.g. 1,4")
    collected.add_argument("--no-plain", action="store_true", help="leave plain statistics out")
    collected.set_defaults(command=_collect)


def _describe(arguments: argparse.Namespace) -> int:
    found = describe(arguments.folder)
    print(found.as_json() if arguments.json else found.as_text())
    if arguments.picture is not None:
        write_picture(found.holdings, arguments.picture)
    return 0


def _collect(arguments: argparse.Namespace) -> int:
    epochs = None if arguments.raw_epochs is None else frozenset(map(int, arguments.raw_epochs.split(",")))
    kept = Kept(arguments.raw_every, epochs, plain=not arguments.no_plain)
    runs = collect(arguments.folders, arguments.out, kept, arguments.data)
    print(f"{runs} runs in {arguments.out}")
    return 0
