"""Stochastic gradient boosting by scikit-learn, brought to the arrays that the package reads.

J. H. Friedman, "Stochastic gradient boosting", 2002. n = rows, D = columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.tree import DecisionTreeRegressor

from fms_hub.surrogate.forest import LEAF, Forest

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Boosting:
    """How trees are grown.

    Attributes:
        trees: one after the other.
        rate: factor on what each tree adds.
        depth: most questions from a tree's root to a leaf.
        smallest: fewest rows of a leaf.
        rows, columns: share of the rows that a tree sees, and of the columns that a split looks at.
    """

    trees: int
    rate: float
    depth: int
    smallest: int
    rows: float
    columns: float


def boosted(x: Rows, y: Rows, how: Boosting, seed: int, among: NDArray[np.int64] | None = None) -> Forest:
    """Trees whose sum is y (n,) at the rows x (n, D), by least squares.

    Args:
        x, y: to learn from.
        how: trees are grown.
        seed: of the rows and columns that they look at.
        among: numbers of the columns that they may ask for, ascending; None for all.
    """
    allowed = np.arange(x.shape[1]) if among is None else among
    model = GradientBoostingRegressor(
        n_estimators=how.trees,
        learning_rate=how.rate,
        max_depth=how.depth,
        min_samples_leaf=how.smallest,
        subsample=how.rows,
        max_features=how.columns,
        init="zero",
        random_state=seed,
    )
    model.fit(x[:, allowed], y - y.mean())
    found = as_arrays(model.estimators_[:, 0].tolist(), x.shape[1], how.rate, y.mean())
    # Of a leaf the feature, -1, is looked up, too, and not taken.
    return replace(
        found, feature=np.where(found.feature == LEAF, LEAF, allowed[found.feature]).astype(np.int16)
    )


def averaged(forests: Sequence[Forest]) -> Forest:
    """One whose sums are the means of those of several over the same columns."""
    ends = np.cumsum([len(one.feature) for one in forests])
    starts = np.concatenate([[0], ends[:-1]])
    number = [np.where(one.feature == LEAF, one.number / len(forests), one.number) for one in forests]
    pairs = list(zip(forests, starts, strict=True))
    return Forest(
        roots=np.concatenate([one.roots + start for one, start in pairs]).astype(np.int32),
        feature=np.concatenate([one.feature for one in forests]),
        number=np.concatenate(number).astype(np.float32),
        right=np.concatenate([np.where(one.feature == LEAF, 0, one.right + s) for one, s in pairs]).astype(
            np.int32
        ),
        columns=forests[0].columns,
    )


def as_arrays(
    trees: Sequence[DecisionTreeRegressor], columns: int, rate: float = 1.0, centre: float = 0.0
) -> Forest:
    """scikit-learn's trees over so many columns, end to end: the centre plus the rate times their sum."""
    sizes = [tree.tree_.node_count for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    leaf = np.concatenate([tree.tree_.children_left < 0 for tree in trees])
    left, right = (
        np.concatenate([getattr(t.tree_, name) + root for t, root in zip(trees, roots, strict=True)])
        for name in ("children_left", "children_right")
    )
    inner = np.flatnonzero(~leaf)
    assert np.array_equal(left[inner], inner + 1), (
        "scikit-learn grows such trees depth first, the left side first"
    )
    feature = np.concatenate([tree.tree_.feature for tree in trees])
    threshold = _down(np.concatenate([tree.tree_.threshold for tree in trees]))
    adds = rate * np.concatenate([tree.tree_.value[:, 0, 0] for tree in trees])
    adds[: sizes[0]] += centre
    return Forest(
        roots=roots.astype(np.int32),
        feature=np.where(leaf, LEAF, feature).astype(np.int16),
        number=np.where(leaf, adds.astype(np.float32), threshold),
        right=np.where(leaf, 0, right).astype(np.int32),
        columns=columns,
    )


def _down(threshold: Rows) -> NDArray[np.float32]:
    """The largest float32 that is not above; columns are float32, so that no row changes sides."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near).astype(np.float32)
