"""Whether L2 pays beside L1: Kendall's tau on the small CNNs whose weights were kept.

    python -m training.weight_passing.worth --hub DIR [--runs N] [--seeds N] [--json]

Measured as in `training.benchmarks.weight_worth`: 5-fold by run, extra trees, tau within each task,
intervals by a paired bootstrap over runs.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.corpus.small_net import PIXELS, SmallCNN
from training.weight_passing.infer import infer_axes
from training.weight_passing.passing import Wiring, l2
from training.worth.hub import Hub, View, load_hub
from training.worth.predictors import extra_trees
from training.worth.scores import Interval, folds, interval

Array = NDArray[np.float64]
ROWS: tuple[tuple[str, ...], ...] = (
    ("L1",),
    ("L2",),
    ("L1", "L2"),
    ("hyperparameters", "curve"),
    ("hyperparameters", "curve", "L1"),
    ("hyperparameters", "curve", "L1", "L2"),
)
PAIRS = ((("L1", "L2"), ("L1",)), (ROWS[-1], ROWS[-2]))


@dataclass(frozen=True)
class Cell:
    """One number of the table: tau of a row, or of the first row minus the second."""

    epoch: int
    row: str
    tau: Interval


def with_l2(hub: Hub) -> Hub:
    """The hub with a block ``L2`` in every view, (n, matrices * len(L2))."""
    by_run: dict[str, set[str]] = {}
    for key in hub.raw:
        run, at, name = key.split("/", 2)
        by_run.setdefault(f"{run}/{at}", set()).add(name)
    wirings: dict[int, Wiring] = {}
    views = {}
    for epoch, view in hub.views.items():
        rows = [_row(hub, f"{run}/{epoch}", by_run, view, i, wirings) for i, run in enumerate(hub.runs)]
        views[epoch] = replace(view, blocks={**view.blocks, "L2": np.array(rows)})
    return replace(hub, views=views)


def _row(
    hub: Hub, key: str, names: dict[str, set[str]], view: View, i: int, wirings: dict[int, Wiring]
) -> Array:
    state = {name: torch.from_numpy(hub.raw[f"{key}/{name}"]).double() for name in sorted(names[key])}
    structure = view.graphs[i].structure
    classes = len(state["head.bias"])
    if classes not in wirings:
        wirings[classes] = Wiring(structure, infer_axes(SmallCNN(classes), (1, PIXELS, PIXELS)))
    wiring = wirings[classes]
    row: Array = l2(wiring, state)[[link.node for link in wiring.links]].ravel()
    return row


def taus(hub: Hub, seeds: int) -> list[Cell]:
    """All rows, then the differences `PAIRS`."""
    cells, made = [], dict[tuple[int, tuple[str, ...]], Array]()
    for epoch, view in hub.views.items():
        for row in ROWS:
            made[epoch, row] = np.array([_predicted(hub, view, row, seed) for seed in range(seeds)])
            cells.append(Cell(epoch, " + ".join(row), interval(hub.task, made[epoch, row], hub.final)))
        for first, second in PAIRS:
            difference = interval(hub.task, made[epoch, first], hub.final, made[epoch, second])
            cells.append(Cell(epoch, f"{' + '.join(first)} minus {' + '.join(second)}", difference))
    return cells


def _predicted(hub: Hub, view: View, row: tuple[str, ...], seed: int) -> Array:
    predicted = np.empty(len(hub.runs))
    for train, held in folds(len(hub.runs), seed):
        predicted[held] = extra_trees(hub, view, row, train, held, seed)
    return predicted


def main() -> None:
    """Parse the command line, predict, print."""
    parser = argparse.ArgumentParser(prog="python -m training.weight_passing.worth")
    parser.add_argument("--hub", type=Path, required=True, help="folder of the small-cnn hub's shards")
    parser.add_argument("--runs", type=int, default=None, help="take the first so many runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hub = with_l2(load_hub(arguments.hub, most=arguments.runs))
    cells = taus(hub, arguments.seeds)
    if arguments.json:
        print(json.dumps({"runs": len(hub.runs), "taus": [asdict(cell) for cell in cells]}))
        return
    print(
        f"{hub.name}: {len(hub.runs)} runs, {arguments.seeds} seeds\n\n| row | epoch | tau |\n|---|---|---|"
    )
    for cell in cells:
        tau = cell.tau
        print(f"| {cell.row} | {cell.epoch} | {tau.value:.3f} ({tau.low:.3f} to {tau.high:.3f}) |")


if __name__ == "__main__":
    main()
