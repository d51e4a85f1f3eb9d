"""Which neuron stands at which position of a tensor, and every weight matrix between neurons."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import torch
from torch import Tensor

from fms_hub.weights.structure import Node, Owned, Role, Structure
from training.weight_passing.axes import Axis, AxisClasses, Grid, Neurons, Ordered

Key: TypeAlias = tuple[int, ...]
"""A family of neurons: every combination of the neurons of these classes; ``()`` for ordered positions."""


@dataclass(frozen=True)
class Block:
    """Neurons of one family along a part of an axis.

    Attributes:
        key: the family.
        count: neurons of the whole family.
        at: positions along the axis, int64 (n,).
        neuron: which neuron of the family stands there, int64 (n,).
    """

    key: Key
    count: int
    at: Tensor
    neuron: Tensor


def blocks(axis: Axis) -> tuple[Block, ...]:
    """An axis as neurons; every position is in one block."""
    everything = torch.arange(axis.size)
    if isinstance(axis, Ordered):
        return (Block((), 1, everything, torch.zeros_like(everything)),)
    if isinstance(axis, Neurons):
        return (Block((axis.number,), axis.size, everything, everything),)
    if isinstance(axis, Grid):
        return tuple(_crossed(combination) for combination in _combinations(axis))
    found, start = list[Block](), 0
    for part in axis.parts:
        found += [Block(b.key, b.count, b.at + start, b.neuron) for b in blocks(part)]
        start += part.size
    return tuple(found)


def _combinations(axis: Grid) -> Iterator[tuple[tuple[Block, int], ...]]:
    yield from product(*([(block, part.size) for block in blocks(part)] for part in axis.parts))


def _crossed(combination: tuple[tuple[Block, int], ...]) -> Block:
    at, neuron = torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    key, count = Key(), 1
    for block, size in combination:
        at = (at[:, None] * size + block.at).flatten()
        neuron = (neuron[:, None] * block.count + block.neuron).flatten()
        key, count = key + block.key, count * block.count
    return Block(key, count, at, neuron)


@dataclass(frozen=True)
class Link:
    """A weight matrix between neurons.

    Attributes:
        node: number of its node in the structure.
        name: of the tensor.
        groups: blocks on the diagonal of the matrix.
        flipped: stored with inputs first.
        rows, columns: output and input neurons of the whole matrix.
    """

    node: int
    name: str
    groups: int
    flipped: bool
    rows: tuple[Block, ...]
    columns: tuple[Block, ...]

    def view(self, tensor: Tensor) -> Tensor:
        """The tensor as (groups, outputs, inputs, taps)."""
        if tensor.ndim == 2:
            return (tensor.T if self.flipped else tensor)[None, :, :, None]
        inner = tensor.reshape(self.groups, -1, tensor.shape[1], tensor[0, 0].numel())
        return inner.transpose(1, 2) if self.flipped else inner


def links(structure: Structure, classes: AxisClasses) -> tuple[Link, ...]:
    """All weight matrices and convolution kernels."""
    found = []
    for number, node in enumerate(structure.nodes):
        owned = node.matrix
        if owned is not None and owned.name in classes.axes and _is_link(node, owned):
            rows, columns = _sides(node, classes.axes[owned.name])
            flipped = node.flipped
            found.append(Link(number, owned.name, node.groups, flipped, blocks(rows), blocks(columns)))
    return tuple(found)


def _is_link(node: Node, owned: Owned) -> bool:
    convolves = node.kind == "conv" and len(owned.shape) >= 3
    return owned.numel > 0 and (convolves or (node.kind == "linear" and len(owned.shape) == 2))


def _sides(node: Node, axes: tuple[Axis, ...]) -> tuple[Axis, Axis]:
    """Output and input axis of the whole matrix; the second dimension is stored per group."""
    whole, part = axes[0], axes[1]
    if node.groups > 1:
        part = Grid((_outer(whole, node.groups), part))
    return (part, whole) if node.flipped else (whole, part)


def _outer(axis: Axis, groups: int) -> Axis:
    """The factor of an axis that counts groups; ordered where it is not a factor."""
    parts = axis.parts if isinstance(axis, Grid) else (axis,)
    for end in range(1, len(parts) + 1):
        factor = Grid(parts[:end])
        if factor.size == groups:
            return factor
    return Ordered(groups)


@dataclass(frozen=True)
class Vector:
    """A tensor that says something of single neurons along one of its dimensions."""

    name: str
    role: Role
    dimension: int
    blocks: tuple[Block, ...]


def vectors(structure: Structure, classes: AxisClasses) -> tuple[Vector, ...]:
    """Biases, scales, running statistics, position tables and the like, a vector per neuron axis."""
    linked = {link.name for link in links(structure, classes)}
    found = []
    for owned in structure.tensors:
        if owned.name in classes.axes and owned.name not in linked and owned.numel:
            for dimension, axis in enumerate(classes.axes[owned.name]):
                parts = blocks(axis)
                if any(block.key for block in parts):
                    found.append(Vector(owned.name, owned.role, dimension, parts))
    return tuple(found)


def families(found: tuple[Link, ...], others: tuple[Vector, ...]) -> Mapping[Key, int]:
    """Number of neurons of every family."""
    sides = [side for link in found for side in (link.rows, link.columns)]
    parts = [block for side in [*sides, *(vector.blocks for vector in others)] for block in side]
    return {block.key: block.count for block in parts}
