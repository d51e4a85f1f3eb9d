"""The prior mean: a forest over all questions of many tasks, and what it says of tasks it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

from fms_hub.surrogate.forest import LEAF, Forest
from fms_hub.surrogate.learned import forest_columns
from training.meta.table import Table

TREES, SMALLEST_LEAF, COLUMNS = 100, 5, 1 / 3
"""Trees, fewest rows of a leaf, and share of the columns that each split looks at."""
ROWS = 3000
"""Questions of each task, so that tasks count the same: half about the end of a run, half any."""
DROPPED = {"weights": 0.25, "task": 0.25, "embedding": 0.5, "metadata": 0.25, "probes": 0.5}
"""How often a question goes without a group of inputs, so that missing ones are normal."""


@dataclass(frozen=True)
class _Questions:
    columns: NDArray[np.float64]
    scores: NDArray[np.float64]


def fit_forest(tables: Sequence[Table], seed: int, trees: int = TREES) -> Forest:
    """Random forest (Breiman 2001) over questions of all tasks.

    Args:
        tables: of at least one task.
        seed: of questions, dropped groups and trees.
        trees: how many.
    """
    drawn = [_draw(table, np.random.default_rng([seed, number])) for number, table in enumerate(tables)]
    model = RandomForestRegressor(
        trees, max_features=COLUMNS, min_samples_leaf=SMALLEST_LEAF, random_state=seed, n_jobs=1
    )
    columns = np.vstack([part.columns for part in drawn])
    model.fit(columns, np.concatenate([part.scores for part in drawn]))
    return as_arrays(model.estimators_, columns.shape[1])


def as_arrays(trees: Sequence[DecisionTreeRegressor], columns: int) -> Forest:
    """scikit-learn's trees over so many columns, laid end to end."""
    sizes = [tree.tree_.node_count for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    leaf = np.concatenate([tree.tree_.children_left < 0 for tree in trees])
    left, right = (
        np.concatenate([getattr(t.tree_, name) + root for t, root in zip(trees, roots, strict=True)])
        for name in ("children_left", "children_right")
    )
    inner = np.flatnonzero(~leaf)
    assert np.array_equal(left[inner], inner + 1), "scikit-learn grows trees depth first, the left side first"
    feature = np.concatenate([tree.tree_.feature for tree in trees])
    threshold = _down(np.concatenate([tree.tree_.threshold for tree in trees]))
    score = np.concatenate([tree.tree_.value[:, 0, 0] for tree in trees]).astype(np.float32)
    return Forest(
        roots=roots.astype(np.int32),
        feature=np.where(leaf, LEAF, feature).astype(np.int16),
        number=np.where(leaf, score, threshold),
        right=np.where(leaf, 0, right).astype(np.int32),
        columns=columns,
    )


def _draw(table: Table, rng: np.random.Generator) -> _Questions:
    runs = table.finished
    ends = table.row[runs, :, table.horizons[runs]]
    ends = ends[ends >= 0]
    rows = np.concatenate(
        [
            rng.choice(ends, min(ROWS // 2, len(ends)), replace=False),
            rng.choice(len(table.scores), min(ROWS // 2, len(table.scores)), replace=False),
        ]
    )
    inputs = table.inputs.rows(rows)
    absent = {name: _without(getattr(inputs, name), share, rng) for name, share in DROPPED.items()}
    return _Questions(forest_columns(inputs.showing(absent)), table.scores[rows])


def _without(block: NDArray[np.float64], share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    return np.where(rng.random((len(block), 1)) < share, np.nan, block)


def _down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above; columns are float32, so that no row changes sides."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
