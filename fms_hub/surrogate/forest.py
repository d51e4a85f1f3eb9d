"""Regression trees, kept as plain arrays: what meta-training knows before a search begins.

n = rows, D = columns, T = trees, N = nodes of all trees.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

LEAF = -1
"""What leaves have for a feature."""
_CHUNK = 64
"""Rows that descend at a time: what they touch stays in the cache."""


@dataclass(frozen=True, eq=False)
class Forest:
    """The sum of T regression trees (Friedman 2001), each in preorder: a left child is the next node.

    Attributes:
        roots: (T,) number of each tree's first node, int32.
        feature: (N,) column that a node asks for, int16; `LEAF` for a leaf.
        number: (N,) float32; rows whose value is at most this go left, and of a leaf what it adds to the
            sum.
        right: (N,) number of the right child, int32, larger than that of its parent; of leaves 0.
        columns: D.

    Raises:
        ValueError: a child that is not behind its parent, or a column that is not there: rows would never
            arrive.
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int16]
    number: NDArray[np.float32]
    right: NDArray[np.int32]
    columns: int

    def __post_init__(self) -> None:
        nodes = len(self.feature)
        if any(len(array) != nodes for array in (self.number, self.right)):
            raise ValueError("all arrays of nodes must be of the same length")
        inner = np.flatnonzero(self.feature != LEAF)
        if ((self.right[inner] <= inner) | (self.right[inner] >= nodes)).any() or nodes - 1 in inner:
            raise ValueError("every child of a tree's node must follow it")
        if ((self.feature < LEAF) | (self.feature >= self.columns)).any():
            raise ValueError(f"the trees ask for columns beyond {self.columns}")
        if len(self.roots) == 0 or ((self.roots < 0) | (self.roots >= nodes)).any():
            raise ValueError("a forest needs trees whose roots are among the nodes")

    def predict(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sum over all trees, (n,), for rows (n, D) without NaN.

        Raises:
            ValueError: the rows have another number of columns.
        """
        if rows.shape[1] != self.columns:
            raise ValueError(f"the trees read {self.columns} columns, found {rows.shape[1]}")
        parts = [self._sum(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _sum(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        values = rows.astype(np.float32).ravel()
        first = np.arange(len(rows))[:, None] * self.columns
        steps = self._steps
        at = np.tile(self.roots.astype(np.intp), (len(rows), 1))
        for _ in range(steps.depth):
            lower = values.take(first + steps.asked.take(at)) <= self.number.take(at)
            at = steps.children.take(2 * at + lower)
        total: NDArray[np.float64] = self.number.take(at).sum(axis=1, dtype=np.float64)
        return total

    @cached_property
    def _steps(self) -> _Steps:
        numbers = np.arange(len(self.feature))
        leaf = self.feature == LEAF
        children = np.stack([self.right, numbers + 1], axis=1)
        level, depth = self.roots, 0
        while len(inner := level[~leaf[level]]):
            level, depth = children[inner].ravel(), depth + 1
        children[leaf] = numbers[leaf, None]
        return _Steps(np.where(leaf, 0, self.feature).astype(np.intp), children.ravel(), depth)


@dataclass(frozen=True, eq=False)
class _Steps:
    """How rows descend; those at a leaf stay there, so that all of them take the same number of steps.

    Attributes:
        asked: column of each node, (N,); of leaves any.
        children: right, then left child of each node, (2 N,); of leaves themselves.
        depth: steps until the last row has arrived.
    """

    asked: NDArray[np.intp]
    children: NDArray[np.intp]
    depth: int
