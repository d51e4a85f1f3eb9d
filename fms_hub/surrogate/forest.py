"""The meta-trained prior mean: regression trees over all inputs, kept as plain arrays.

n = rows, D = columns, T = trees, N = nodes of all trees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAF = -1
"""What leaves have for a feature."""
_CHUNK = 4096
"""Rows that descend at a time."""


@dataclass(frozen=True, eq=False)
class Forest:
    """The mean of T regression trees (Breiman 2001), each in preorder: a node's left child is the next one.

    Attributes:
        roots: (T,) number of each tree's first node, int32.
        feature: (N,) column that a node asks for, int16; `LEAF` for a leaf.
        number: (N,) float32; rows whose value is at most this go left, and of a leaf the mean score of the
            rows that came to it.
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
        """The mean of all trees, (n,), for rows (n, D) without NaN."""
        parts = [self._descend(rows[start : start + _CHUNK]) for start in range(0, len(rows), _CHUNK)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _descend(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        values = rows.astype(np.float32)
        at = np.tile(self.roots.astype(np.int64), (len(rows), 1))
        row = np.arange(len(rows))[:, None]
        while (going := self.feature[at] != LEAF).any():
            asked = np.where(going, self.feature[at], 0)
            lower = values[row, asked] <= self.number[at]
            at = np.where(going, np.where(lower, at + 1, self.right[at]), at)
        mean: NDArray[np.float64] = self.number[at].astype(np.float64).mean(axis=1)
        return mean
