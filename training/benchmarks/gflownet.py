"""Proposals by a flow network: exactly in proportion to the reward? good and diverse? worth it in a search?

    python -m training.benchmarks.gflownet --data DIR [--parts exact,article,nets,live] [--seeds 5]
        [--task mnist] [--live-tasks gtsrb,flowers5] [--out DIR] [--json] [--quick]

exact    Total variation between a trained policy's exact distribution and the normalised rewards, over a
         space of 4,080 configurations with a condition and a forbidden pair, on a random landscape a seed.
article  Learning rate x batch size x epochs of a feed-forward net on digits, 12 x 6 x 6 cells, all trained:
         1,000 draws of the trained policies, the untrained one and uniform ones, and the grid itself. A mode
         is a cell among the best tenth that no neighbour is better than. Two pictures go to DIR of ``--out``.
nets     Searches over feed-forward nets of three widths and five hyperparameters on the same digits, with
         ``proposals="local"`` and ``"gflownet"``, same seeds.
live     The same over the bundled candidates; a picture goes to DIR of ``--out``.

Intervals are 95 % by Student's t over seeds. What is finished in DIR of ``--out`` is read back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import get_args

import torch

from fms_hub.corpus.wholefile import write_whole
from fms_hub.search.gflownet.balance import Effort, Objective
from training.benchmarks.cached.report import Report, TableRow, Target
from training.contests.arms import GFLOWNET, LOCAL
from training.contests.command import contest_parser, parse, searched
from training.gflownet import article, check
from training.gflownet.feed_forward import trained_grid
from training.gflownet.maps import maps
from training.pictures.strips import strips

PARTS = ("exact", "article", "nets", "live")
IMAGES, REPEATS = 2500, 2
QUICK_IMAGES = 400


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure or read back, print the tables or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = parse(contest_parser("gflownet", PARTS, "two seeds, a coarse grid: to try it out"), given)
    torch.set_num_threads(1)
    settings.out.mkdir(parents=True, exist_ok=True)
    rows: list[TableRow] = []
    targets: list[Target] = []
    if "exact" in settings.parts:
        checks = [
            check.check(objective, seed, check.ROUNDS[objective])
            for objective in get_args(Objective)
            for seed in range(settings.seeds)
        ]
        rows += check.rows(checks)
        targets.append(check.target(checks))
    if "article" in settings.parts:
        rows += _article(settings)
    rows += searched(settings, (LOCAL, GFLOWNET))
    setting = f"{settings.seeds} seeds" + (
        "; quick, a coarse grid and short searches" if settings.quick else ""
    )
    report = Report("gflownet", setting, rows, targets)
    print(report.json() if settings.json else report.markdown())


def _article(settings: argparse.Namespace) -> list[TableRow]:
    grid = trained_grid(
        settings.data,
        settings.task,
        QUICK_IMAGES if settings.quick else IMAGES,
        1 if settings.quick else REPEATS,
        settings.out / "grid",
        coarse=settings.quick,
    )
    effort = Effort(rounds=2, draws=128) if settings.quick else Effort()
    drawn = [article.samples(grid, seed, effort) for seed in range(settings.seeds)]
    first = drawn[0]
    values = {name: grid.scores[tuple(cells.T)].tolist() for name, cells in first.items()}
    picture = strips(values, {}, f"true accuracy of draws, {settings.task}")
    write_whole(settings.out / "distributions.svg", picture.encode())
    counted = {name: cells for name, cells in first.items() if name != "grid"}
    write_whole(settings.out / "maps.svg", maps(grid, counted).encode())
    return article.rows(grid, drawn)


if __name__ == "__main__":
    main()
