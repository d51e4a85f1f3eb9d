"""Fixed-size sketches of what the nodes of a structure own, whatever its neurons' order.

Source of the choice of statistics: T. Unterthiner et al., "Predicting Neural Network Accuracy from
Weights" (2020) for moments and quantiles per layer; here with norms per neuron, kernel modes and
power steps, in O(parameters), without sorting or sampling entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.errors import CheckpointError
from fms_hub.weights.columns import FEATURES, GROUPS
from fms_hub.weights.matrices import MATRIX_FEATURES, finish
from fms_hub.weights.measure import measure
from fms_hub.weights.structure import Node, Owned, Role, Structure
from fms_hub.weights.vectors import (
    Segments,
    running_features,
    vector_features,
)

Sketch = NDArray[np.float32] | NDArray[np.float64]

SKETCH_VERSION: Final = 2
"""Rises whenever a feature changes its meaning; sketches of two versions are never compared."""

_BATCH: Final = 2**20
"""Most elements that tensors of one shape are stacked to; larger ones go one by one."""


Read = Callable[[str], Tensor]
"""Gives the tensor of a name; called once for each."""


@dataclass(frozen=True)
class _Block:
    """A matrix to sketch: the index of its node, its name, and a view (G, O, I, T) of it."""

    index: int
    node: Node
    owned: Owned
    view: Tensor

    @property
    def kernel(self) -> tuple[int, ...]:
        return self.owned.shape[2:] if self.node.kind == "conv" else ()


def sketch(structure: Structure, state: Mapping[str, Tensor]) -> Sketch:
    """Describe the weights of every node.

    Args:
        structure: says which tensors belong to which node and where their neurons are.
        state: tensors by name, of any float type, on any device; others than the structure's are
            ignored. Half-precision tensors are widened to float32 one batch at a time; float64
            stays float64.

    Returns:
        (nodes, len(FEATURES)), finite; float64 if a tensor is, else float32.

    Raises:
        CheckpointError: a tensor is missing, has another shape, or is not finite.
    """
    check_state(structure, state)
    return sketch_stream(structure, state, state.__getitem__)


def sketch_stream(structure: Structure, layout: Mapping[str, Tensor], read: Read) -> Sketch:
    """The same bits as `sketch`, from tensors that are read one by one and let go at once.

    Besides what `read` holds, at most three copies of the largest tensor are in memory at a time, or of
    `_BATCH` elements where that is more; and the vectors, which are few.

    Args:
        structure: as in `sketch`.
        layout: tensors by name whose shape and type are looked at, not their values: on the meta
            device as well.
        read: called once for each tensor of the structure, matrices of one shape together.

    Raises:
        CheckpointError: as in `sketch`; what does not fit is found before anything is read.
    """
    check_layout(structure, layout)
    wide = any(layout[tensor.name].dtype == torch.float64 for tensor in structure.tensors)
    table = np.zeros((len(structure.nodes), len(FEATURES)), np.float64 if wide else np.float32)
    with torch.no_grad():
        _fill_matrices(table, structure, layout, read)
        vectors = {t.name: read(t.name) for t in structure.tensors if t.role != "matrix"}
        _fill_vectors(table, structure, vectors, "scale")
        _fill_vectors(table, structure, vectors, "bias")
        _fill_running(table, structure, vectors)
    return table


def check_state(structure: Structure, state: Mapping[str, Tensor]) -> None:
    """Refuse a state that does not fit or has no values, before anything is computed.

    Raises:
        CheckpointError: names the tensor that is missing, misshaped, empty or not of a float type.
    """
    check_layout(structure, state)
    for owned in structure.tensors:
        if state[owned.name].is_meta:
            raise CheckpointError(
                f"expected {owned.name!r} with floating-point values, found no values (meta device)."
            )


def check_layout(structure: Structure, state: Mapping[str, Tensor]) -> None:
    """Refuse tensors whose names, shapes or types do not fit; they may be on the meta device.

    Raises:
        CheckpointError: names the tensor that is missing, misshaped or not of a float type.
    """
    for owned in structure.tensors:
        if owned.name not in state:
            raise CheckpointError(
                f"expected a tensor {owned.name!r}, found none; give the whole state of the model."
            )
        found = state[owned.name]
        if tuple(found.shape) != owned.shape:
            raise CheckpointError(
                f"expected {owned.name!r} of shape {owned.shape}, found {tuple(found.shape)}; "
                "the weights are of another architecture."
            )
        if not found.is_floating_point():
            raise CheckpointError(f"expected {owned.name!r} with floating-point values, found {found.dtype}.")


def _view(node: Node, owned: Owned, tensor: Tensor) -> Tensor:
    shape = owned.shape
    if node.kind == "conv" and len(shape) >= 3:
        view = tensor.detach().reshape(node.groups, -1, shape[1], node.taps)
        return view.transpose(1, 2) if node.flipped else view
    if len(shape) < 2:
        matrix = tensor.detach().reshape(1, -1)
    elif node.kind in ("conv", "linear") and not node.flipped:
        matrix = tensor.detach().reshape(shape[0], -1)
    else:
        matrix = tensor.detach().reshape(
            -1, next(size for size in (*shape[::-1], 1) if size > 1 or max(shape) == 1)
        )
    return (matrix.T if node.flipped else matrix)[None, :, :, None]


def _fill_matrices(table: Sketch, structure: Structure, layout: Mapping[str, Tensor], read: Read) -> None:
    blocks = [
        _Block(index, node, node.matrix, _view(node, node.matrix, layout[node.matrix.name]))
        for index, node in enumerate(structure.nodes)
        if node.matrix is not None and node.matrix.numel > 0
    ]
    if not blocks:
        return
    batches = list(_batches(blocks))
    order = [block for batch in batches for block in batch]
    results = [measure(_stacked(batch, read), batch[0].kernel).double() for batch in batches]
    raw = torch.cat([result.to(results[0].device) for result in results]).cpu().numpy()
    _require_finite([block.owned.name for block in order], raw[:, 0])
    shapes = np.array([block.view.shape for block in order], dtype=np.int64)
    table[[block.index for block in order], : len(MATRIX_FEATURES)] = finish(raw, shapes)


def _batches(blocks: Iterable[_Block]) -> Iterator[list[_Block]]:
    """Blocks of one shape, kernel, type and device together, as long as the stack stays small."""
    alike: dict[tuple[object, ...], list[_Block]] = {}
    for block in blocks:
        view = block.view
        alike.setdefault((view.shape, block.kernel, view.dtype, view.device), []).append(block)
    for batch in alike.values():
        step = max(1, _BATCH // batch[0].view.numel())
        yield from (batch[start : start + step] for start in range(0, len(batch), step))


def _stacked(batch: Sequence[_Block], read: Read) -> Tensor:
    views = [_view(block.node, block.owned, read(block.owned.name)) for block in batch]
    return views[0][None] if len(views) == 1 else torch.stack(views)


def _require_finite(names: Sequence[str], peaks: NDArray[np.float64]) -> None:
    for name, peak in zip(names, peaks, strict=True):
        if not math.isfinite(peak):
            raise CheckpointError(
                f"expected finite values in {name!r}, found NaN or infinity; the training diverged."
            )


def _fill_vectors(table: Sketch, structure: Structure, state: Mapping[str, Tensor], role: Role) -> None:
    """Several tensors of one role in one node are described as one."""
    owned = [
        (i, t.name) for i, n in enumerate(structure.nodes) for t in n.tensors if t.role == role and t.numel
    ]
    if not owned:
        return
    names = [name for _, name in owned]
    parts = Segments.of([state[name] for name in names])
    _require_finite(names, parts.peak())
    nodes, first = np.unique([index for index, _ in owned], return_index=True)
    table[nodes, GROUPS[role]] = vector_features(parts.merged(first))


def _fill_running(table: Sketch, structure: Structure, state: Mapping[str, Tensor]) -> None:
    norms = [(i, _by_role(node)) for i, node in enumerate(structure.nodes)]
    norms = [
        (i, roles) for i, roles in norms if "mean" in roles and "var" in roles and state[roles["var"]].numel()
    ]
    if not norms:
        return
    means, variances = [roles["mean"] for _, roles in norms], [roles["var"] for _, roles in norms]
    mean, var = Segments.of([state[n] for n in means]), Segments.of([state[n] for n in variances])
    _require_finite(means, mean.peak())
    _require_finite(variances, var.peak())
    scales = [state[r["scale"]] if "scale" in r else torch.ones_like(state[r["var"]]) for _, r in norms]
    table[[i for i, _ in norms], GROUPS["running"]] = running_features(mean, var, Segments.of(scales).values)


def _by_role(node: Node) -> dict[Role, str]:
    return {tensor.role: tensor.name for tensor in node.tensors}
