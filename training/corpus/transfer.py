"""The corpus' commands that carry things in and out of it.

python -m training.corpus pack: the tasks of the sweeps in one small file.
python -m training.corpus outside: logs of others, as shards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from training.corpus import candidates, timm_tiny
from training.corpus.outside import SOURCES, import_outside
from training.corpus.pack import QUALITY, write_pack
from training.corpus.tasks import SMALL_CNN, TIMM_TINY


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add these commands to the parser of `python -m training.corpus`."""
    packed = commands.add_parser("pack", help="put the tasks of the sweeps into one small file")
    packed.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    packed.add_argument("--out", type=Path, required=True, help="the pack")
    packed.add_argument("--quality", type=int, default=QUALITY, help="of its images, 0 to 100")
    packed.add_argument("--seed", type=int, default=0, help="of the timm-tiny sweep")
    packed.set_defaults(command=_pack)
    outside = commands.add_parser("outside", help="import logs of others, without weights")
    outside.add_argument("--tables", type=Path, required=True, help=f"folder that has {', '.join(SOURCES)}")
    outside.add_argument("--out", type=Path, required=True, help="folder of the shards")
    outside.set_defaults(command=_outside)


def _pack(arguments: argparse.Namespace) -> int:
    planned = timm_tiny.timm_tiny(TIMM_TINY, candidates.timm_tiny(), arguments.seed)
    hubs = {"timm-tiny": TIMM_TINY, "small-cnn": SMALL_CNN}
    pack = write_pack(arguments.data, arguments.out, hubs, planned, arguments.quality)
    size = arguments.out.stat().st_size / 1e6
    print(f"{arguments.out}: pack {pack.digest}, {len(pack.meta['tasks'])} tasks, {size:.1f} MB")
    return 0


def _outside(arguments: argparse.Namespace) -> int:
    for name, found in import_outside(arguments.tables, arguments.out).items():
        left_out = "".join(f"; {count} left out: {why}" for why, count in found.left_out.items())
        print(f"{name}: {found.runs} runs, {found.rows} rows, {found.candidates} candidates{left_out}")
    return 0
