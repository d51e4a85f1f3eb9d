"""What weights are worth: Kendall's tau of predicted against true final score from one early checkpoint.

    python -m training.benchmarks.weight_worth --hub DIR [--runs N] [--learned L3,metanetwork] [--quick]

DIR holds the shards of one hub (`python -m training.corpus`). 5-fold cross-validation by run, 3 seeds
(1 for what is slow: Gaussian process, metanetwork); rows with L2 need runs whose weights were kept; tau
within each task, averaged over tasks and seeds; intervals are a bootstrap over runs, paired for differences.
The task is known in every row. Resumable: predictions made before on the same runs are read back.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.worth.hub import Hub, View, load_hub
from training.worth.learned import fit_predict, graph_source, raw_source
from training.worth.passing import with_l2
from training.worth.predictors import extra_trees, gaussian_process
from training.worth.scores import Interval, folds, interval

Array = NDArray[np.float64]
Predictor = Callable[[Hub, View, tuple[str, ...], NDArray[np.intp], NDArray[np.intp], int], Array]

SEEDS = 3
SLOW_SEEDS = 1
"""Of the Gaussian process and the metanetwork."""
QUICK_RUNS = 100
PREDICTORS: dict[str, Predictor] = {"extra trees": extra_trees, "GP": gaussian_process}
ENCODERS = {"L3": graph_source, "metanetwork": raw_source}
"""Of sketches with answers, and of raw weights where all were kept."""
_SEEN = ("metadata", "hyperparameters", "curve")
ROWS: tuple[tuple[str, ...], ...] = (
    ("metadata",),
    ("plain",),
    ("L1",),
    ("L4",),
    ("L1", "L4"),
    ("L1 pooled", "L4 pooled"),
    ("plain", "L4"),
    ("L2",),
    ("L1", "L2"),
    ("L1", "L2", "L4"),
    ("metadata", "plain"),
    ("metadata", "L1"),
    ("metadata", "L1", "L4"),
    ("curve",),
    ("metadata", "hyperparameters"),
    _SEEN,
    (*_SEEN, "plain"),
    (*_SEEN, "L1"),
    (*_SEEN, "L1", "L4"),
    (*_SEEN, "L1", "L2", "L4"),
)
COMPARED = (
    (("L1",), ("plain",)),
    (("L1", "L4"), ("plain",)),
    (("L1 pooled", "L4 pooled"), ("plain",)),
    (("L1", "L4"), ("L1",)),
    (("metadata", "L1"), ("metadata", "plain")),
    (("metadata", "L1"), ("metadata",)),
    ((*_SEEN, "plain"), _SEEN),
    ((*_SEEN, "L1"), _SEEN),
    ((*_SEEN, "L1", "L4"), _SEEN),
    ((*_SEEN, "L1", "L4"), (*_SEEN, "plain")),
    (("metadata", "L1", "L4"), ("metadata", "plain")),
    (("metadata", "L1", "L4"), ("metadata",)),
    (("L1", "L2"), ("L1",)),
    (("L1", "L2", "L4"), ("L1", "L4")),
    ((*_SEEN, "L1", "L2", "L4"), (*_SEEN, "L1", "L4")),
    (("L1", "L4", "L3"), ("L1", "L4")),
    (("L1", "L2", "L4", "L3"), ("L1", "L4", "L3")),
    (("L1", "L4", "L3"), ("plain",)),
    (("metadata", "L1", "L4", "L3"), ("metadata", "L1", "L4")),
    ((*_SEEN, "L1", "L4", "L3"), (*_SEEN, "L1", "L4")),
)
"""Rows whose difference gets an interval of its own: first minus second."""


@dataclass(frozen=True)
class Cell:
    """One number of the table."""

    epoch: int
    predictor: str
    row: str
    tau: Interval


def predictions(hub: Hub, path: Path, predictors: list[str], seeds: int) -> dict[str, list[float]]:
    """Out-of-fold predictions of every row by ``EPOCH|PREDICTOR|ROW|SEED``; those in the file are kept."""
    known: dict[str, list[float]] = json.loads(path.read_text()) if path.exists() else {}
    for predictor in predictors:
        for epoch, view in hub.views.items():
            for blocks in rows_of(view):
                for seed in range(seeds if predictor == "extra trees" else SLOW_SEEDS):
                    key = f"{epoch}|{predictor}|{name_of(blocks)}|{seed}"
                    if key not in known:
                        known[key] = _out_of_fold(PREDICTORS[predictor], hub, view, blocks, seed).tolist()
                _write(path, known)
    return known


def learned(hub: Hub, path: Path, name: str) -> dict[str, list[float]]:
    """Adds the predictions of a learned encoder, see `ENCODERS`, to the file."""
    known: dict[str, list[float]] = json.loads(path.read_text())
    source = ENCODERS[name](hub)
    for seed in range(SEEDS if name == "L3" else SLOW_SEEDS):
        if f"{max(hub.views)}|learned|{name}|{seed}" in known:
            continue
        predicted = {epoch: np.empty(len(hub.runs)) for epoch in hub.views}
        for train, held in folds(len(hub.runs), seed):
            for number, scores in fit_predict(hub, source, train, held, seed).items():
                predicted[number][held] = scores
        known |= {f"{e}|learned|{name}|{seed}": scores.tolist() for e, scores in predicted.items()}
        _write(path, known)
    return known


def averaged(hub: Hub, known: dict[str, list[float]]) -> dict[str, list[float]]:
    """Predictions of extra trees over rows with L1 and L4 averaged with those of L3, under ``ROW + L3``."""
    added = {}
    for key in known:
        epoch, predictor, row, seed = key.split("|")
        learned_key = f"{epoch}|learned|L3|{seed}"
        if predictor == "extra trees" and row.endswith("L4") and row != "L4" and learned_key in known:
            both = _standard(hub, np.array(known[key])) + _standard(hub, np.array(known[learned_key]))
            added[f"{epoch}|{predictor}|{row} + L3|{seed}"] = both.tolist()
    return added


def rows_of(view: View) -> Iterator[tuple[str, ...]]:
    """The rows that differ from one another, where a block may say nothing."""
    seen = set()
    for row in ROWS:
        blocks = _telling(view, row)
        if blocks and blocks not in seen:
            seen.add(blocks)
            yield blocks


def _telling(view: View, blocks: tuple[str, ...]) -> tuple[str, ...]:
    """Without what says nothing; L3 is not a block but a predictor of its own."""
    return tuple(n for n in blocks if n == "L3" or (n in view.blocks and view.blocks[n].shape[1]))


def name_of(blocks: tuple[str, ...]) -> str:
    """E.g. ``"hyperparameters + L1"``."""
    return " + ".join(blocks)


def table(hub: Hub, known: dict[str, list[float]], seeds: int) -> tuple[list[Cell], list[Cell]]:
    """Taus of all rows, and of the differences `COMPARED`."""
    cells, differences = [], []
    for epoch, predictor in dict.fromkeys(tuple(key.split("|")[:2]) for key in known):
        view = hub.views[int(epoch)]
        made: dict[str, Array] = {}
        for row in dict.fromkeys(
            key.split("|")[2] for key in known if key.startswith(f"{epoch}|{predictor}|")
        ):
            keys = [f"{epoch}|{predictor}|{row}|{seed}" for seed in range(seeds)]
            made[row] = np.array([known[key] for key in keys if key in known])
            cells.append(Cell(int(epoch), predictor, row, interval(hub.task, made[row], hub.final)))
        for pair in COMPARED:
            first, second = (name_of(_telling(view, blocks)) for blocks in pair)
            if first in made and second in made and first != second:
                difference = interval(hub.task, made[first], hub.final, made[second])
                cell = Cell(int(epoch), predictor, f"{first} minus {second}", difference)
                if cell not in differences:
                    differences.append(cell)
    return cells, differences


def show(cells: list[Cell]) -> str:
    """Markdown: a row per predictor and row, a column per epoch."""
    epochs = sorted({cell.epoch for cell in cells})
    lines = [
        "| predictor | row | " + " | ".join(f"epoch {e}" for e in epochs) + " |",
        "|---" * (2 + len(epochs)) + "|",
    ]
    found = {(c.predictor, c.row, c.epoch): c.tau for c in cells}
    for predictor, row in dict.fromkeys((c.predictor, c.row) for c in cells):
        texts = [_text(found.get((predictor, row, epoch))) for epoch in epochs]
        lines.append(f"| {predictor} | {row} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, predict, print."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.weight_worth")
    parser.add_argument("--hub", type=Path, required=True, help="folder of one hub's shards")
    parser.add_argument("--runs", type=int, help="take the first so many runs")
    parser.add_argument("--out", type=Path, default=Path("runs/weight_worth"))
    parser.add_argument("--predictors", default=",".join(PREDICTORS))
    parser.add_argument("--learned", default="", help="also train these encoders, e.g. L3,metanetwork")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_RUNS} runs, one seed, trees only")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    hub = with_l2(load_hub(arguments.hub, most=QUICK_RUNS if arguments.quick else arguments.runs))
    seeds = 1 if arguments.quick else SEEDS
    names = ["extra trees"] if arguments.quick else arguments.predictors.split(",")
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"{hub.name}-{hub.fingerprint}.json"
    known = predictions(hub, path, names, seeds)
    for name in filter(None, arguments.learned.split(",")):
        known = learned(hub, path, name)
    cells, differences = table(hub, known | averaged(hub, known), seeds)
    if arguments.json:
        report = {"hub": hub.name, "runs": len(hub.runs), "seeds": seeds}
        rows = {"taus": [asdict(c) for c in cells], "differences": [asdict(c) for c in differences]}
        print(json.dumps(report | rows))
    else:
        print(f"{hub.name}: {len(hub.runs)} runs, {seeds} seeds\n\n{show(cells)}\n\n{show(differences)}")


def _out_of_fold(predictor: Predictor, hub: Hub, view: View, blocks: tuple[str, ...], seed: int) -> Array:
    predicted = np.empty(len(hub.runs))
    for train, held in folds(len(hub.runs), seed):
        predicted[held] = predictor(hub, view, blocks, train, held, seed)
    return predicted


def _standard(hub: Hub, predicted: Array) -> Array:
    """Learned encoders predict in units of the task's spread: bring predictions of scores to the same."""
    scaled = np.empty_like(predicted)
    for task in np.unique(hub.task):
        members = hub.task == task
        scaled[members] = (predicted[members] - predicted[members].mean()) / predicted[members].std()
    return scaled


def _text(tau: Interval | None) -> str:
    return "" if tau is None else f"{tau.value:.3f} ({tau.low:.3f} to {tau.high:.3f})"


def _write(path: Path, known: dict[str, list[float]]) -> None:
    path.with_suffix(".partial").write_text(json.dumps(known))
    path.with_suffix(".partial").replace(path)


if __name__ == "__main__":
    main()
