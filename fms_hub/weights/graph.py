"""The weight graph: a network's structure with one row of features per node."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from fms_hub.weights import storage
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.pooling import pool
from fms_hub.weights.sketch import Sketch
from fms_hub.weights.structure import KINDS, Node, Structure

if TYPE_CHECKING:
    from torch_geometric.data import Data

STRUCTURAL: Final[tuple[str, ...]] = (
    *(f"kind_{kind}" for kind in KINDS),
    "depth",
    "log_fan_in",
    "log_fan_out",
    "log_groups",
    "log_taps",
    "log_parameters",
    "has_bias",
    "has_running",
)
"""Columns of `WeightGraph.x` before the sketch: kind as one-hot, depth 0 to 1, natural logs of 1 + n."""

COLUMNS: Final[tuple[str, ...]] = (*STRUCTURAL, *FEATURES)
"""Names of the columns of `WeightGraph.x`."""


@dataclass(frozen=True, eq=False)
class WeightGraph:
    """What a surrogate sees of a checkpoint.

    Attributes:
        structure: nodes and edges; nodes are ordered as a forward first meets them, which is fixed
            by the architecture.
        x: float32 (nodes, len(COLUMNS)), or float64 where the weights are; finite, read-only.
    """

    structure: Structure
    x: Sketch

    def __post_init__(self) -> None:
        expected = (len(self.structure.nodes), len(COLUMNS))
        if self.x.shape != expected:
            raise ValueError(f"expected node features of shape {expected}, found {self.x.shape}.")
        self.x.setflags(write=False)

    @classmethod
    def of(cls, structure: Structure, sketch: Sketch) -> WeightGraph:
        """Put the columns that follow from the structure before a sketch (nodes, len(FEATURES))."""
        columns = np.array([_structural(node) for node in structure.nodes], dtype=sketch.dtype)
        return cls(structure, np.concatenate([columns, sketch], axis=1))

    @property
    def sketch(self) -> Sketch:
        """The columns that depend on the weights: (nodes, len(FEATURES))."""
        return self.x[:, len(STRUCTURAL) :]

    def pooled(self) -> NDArray[np.float64]:
        """The whole network in one vector of fixed length: float64 (len(POOLED),), finite."""
        return self._pooled.copy()

    @cached_property
    def _pooled(self) -> NDArray[np.float64]:
        return pool(self.structure, self.sketch)

    def to_data(self) -> Data:
        """The graph for torch_geometric.

        Returns:
            ``x`` float32 (nodes, len(COLUMNS)), ``edge_index`` int64 (2, edges), ``edge_type`` int64
            (edges,): 0 forward, 1 back to an operation that is used again.
        """
        import torch
        from torch_geometric.data import Data

        edges = torch.tensor(self.structure.edges, dtype=torch.long).reshape(-1, 2).T.contiguous()
        x = torch.from_numpy(self.x.astype(np.float32))
        return Data(x=x, edge_index=edges, edge_type=(edges[0] >= edges[1]).long())

    def save(self, path: Path | str, *, half: bool = False) -> None:
        """Write one safetensors file, whole or not at all.

        Args:
            path: the file; its folder exists.
            half: store features as float16, which costs up to 1e-3 of their value.

        Raises:
            StorageError: the file cannot be written.
        """
        table = self.sketch.astype(np.float16) if half else self.sketch
        storage.write(Path(path), self.structure, table)

    @classmethod
    def load(cls, path: Path | str) -> WeightGraph:
        """Read what `save` wrote.

        Raises:
            CheckpointError: no such file, damaged, of another version, or not a weight graph.
        """
        return cls.of(*storage.read(Path(path)))


def _structural(node: Node) -> list[float]:
    roles = {tensor.role for tensor in node.tensors}
    sizes = (node.fan_in, node.fan_out, node.groups, node.taps, node.parameters)
    return [
        *(float(node.kind == kind) for kind in KINDS),
        node.depth,
        *(math.log1p(size) for size in sizes),
        float("bias" in roles),
        float("var" in roles),
    ]
