"""What is foreseen before a search: boosted trees over all questions of many tasks, and their doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fms_hub.surrogate.foresight import (
    DEVIATIONS,
    doubt_columns,
    forest_columns,
    last_seen,
    weights_columns,
)
from fms_hub.surrogate.forest import Forest
from fms_hub.surrogate.inputs import WEIGHTS, Inputs
from training.meta.boosting import Boosting, averaged, boosted
from training.meta.shelf import Shelf
from training.meta.table import Table

ROWS = 3000
"""Questions of each task, so that tasks count the same: half about the end of a run, half any."""
DROPPED = {
    WEIGHTS: 0.25,
    ("task",): 0.25,
    ("embedding",): 0.5,
    ("metadata",): 0.25,
    ("probes",): 0.5,
}
"""How often a question goes without groups of inputs, so that missing ones are normal."""
TREES = 300
SIGHTED = Boosting(trees=TREES, rate=0.05, depth=5, smallest=20, rows=0.5, columns=0.1)
BLIND = replace(SIGHTED, columns=1 / 3)
"""What the trees that see weights look at, and those that do not: weights make most of the columns."""
DOUBT = Boosting(trees=60, rate=0.1, depth=3, smallest=100, rows=0.5, columns=0.5)
_MEAN_LOG = -0.635
"""Mean of log |z| of a standard normal z: the logarithm of a deviation is by so much larger."""


@dataclass(frozen=True)
class Foreseen:
    """All questions of a task, and what trees that never saw its group foresee, (N,)."""

    table: Table
    mean: NDArray[np.float64]


def fit_forest(tables: Sequence[Table], seed: int, trees: int = TREES, shelf: Shelf | None = None) -> Forest:
    """Trees that foresee what scores gain on the last one seen, over questions of all tasks.

    The mean of two boosted sums, of which one goes without weights: on tasks that neither had seen the
    mean was better than either, see training/LOG.md.

    Args:
        tables: of at least one task.
        seed: of questions, dropped groups and trees.
        trees: of each sum.
        shelf: where the forest is taken from if it stands there, and else put.
    """
    columns, gains = [], []
    for number, table in enumerate(tables):
        rng = np.random.default_rng([seed, number])
        rows = _drawn(table, rng)
        inputs = table.inputs.rows(rows)
        columns.append(forest_columns(inputs.showing(_without(inputs, rng))))
        gains.append(table.scores[rows] - last_seen(inputs))
    x, y = np.vstack(columns), np.concatenate(gains)
    without = np.flatnonzero(~weights_columns(tables[0].inputs))
    settings = [replace(settings, trees=trees) for settings in (SIGHTED, BLIND)]

    def fitted() -> Forest:
        sighted, blind = settings
        return averaged([boosted(x, y, sighted, seed), boosted(x, y, blind, seed, without)])

    return fitted() if shelf is None else shelf.forest(fitted, x, y, without, repr((settings, seed)))


def fit_doubt(foreseen: Sequence[Foreseen], seed: int) -> Forest:
    """Trees that say how far foresight is off: the logarithm of the deviation, over all tasks alike."""
    columns, logarithms = [], []
    for number, one in enumerate(foreseen):
        rows = _drawn(one.table, np.random.default_rng([seed, number]))
        off = np.abs(one.table.scores[rows] - one.mean[rows])
        columns.append(doubt_columns(one.table.inputs.rows(rows), one.mean[rows]))
        logarithms.append(np.log(np.maximum(off, DEVIATIONS[0])) - _MEAN_LOG)
    return boosted(np.vstack(columns), np.concatenate(logarithms), DOUBT, seed)


def _drawn(table: Table, rng: np.random.Generator) -> NDArray[np.int64]:
    runs = table.finished
    ends = table.row[runs, :, table.horizons[runs]]
    ends = ends[ends >= 0]
    drawn: NDArray[np.int64] = np.concatenate(
        [
            rng.choice(ends, min(ROWS // 2, len(ends)), replace=False),
            rng.choice(len(table.scores), min(ROWS // 2, len(table.scores)), replace=False),
        ]
    )
    return drawn


def _without(inputs: Inputs, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    found: dict[str, NDArray[np.float64]] = {}
    for names, share in DROPPED.items():
        dropped = rng.random((len(inputs), 1)) < share
        found |= {name: np.where(dropped, np.nan, getattr(inputs, name)) for name in names}
    return found
