"""Which axes of which parameters run over the same neurons, and renumbering them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ordered:
    """Positions that keep their order: kernel taps, colours, tokens, logits."""

    size: int


@dataclass(frozen=True)
class Neurons:
    """All neurons of one class, in the class's order."""

    number: int
    size: int


@dataclass(frozen=True)
class Grid:
    """Every combination of the parts, the first varying slowest."""

    parts: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Product of the parts' sizes."""
        size = 1
        for part in self.parts:
            size *= part.size
        return size


@dataclass(frozen=True)
class Chain:
    """The parts one after the other."""

    parts: tuple[Axis, ...]

    @property
    def size(self) -> int:
        """Sum of the parts' sizes."""
        return sum(part.size for part in self.parts)


Axis: TypeAlias = Ordered | Neurons | Grid | Chain


def classes_of(axis: Axis) -> Iterator[int]:
    """Numbers of the classes in an axis."""
    if isinstance(axis, Neurons):
        yield axis.number
    elif isinstance(axis, Grid | Chain):
        for part in axis.parts:
            yield from classes_of(part)


@dataclass(frozen=True)
class AxisClasses:
    """The neuron axes of a network.

    Renumbering the neurons of one class wherever it occurs leaves the network's function unchanged.

    Attributes:
        sizes: number of neurons of every class, each >= 2.
        axes: by name of a parameter or running statistic, one axis per dimension.
    """

    sizes: tuple[int, ...]
    axes: Mapping[str, tuple[Axis, ...]]

    @cached_property
    def members(self) -> tuple[tuple[tuple[str, int], ...], ...]:
        """For every class the (name, dimension) it occurs in."""
        found: list[list[tuple[str, int]]] = [[] for _ in self.sizes]
        for name, axes in self.axes.items():
            for dimension, axis in enumerate(axes):
                for number in dict.fromkeys(classes_of(axis)):
                    found[number].append((name, dimension))
        return tuple(tuple(entries) for entries in found)


def permute(
    state: Mapping[str, Tensor],
    classes: AxisClasses,
    generator: torch.Generator,
    only: Collection[int] | None = None,
) -> dict[str, Tensor]:
    """Renumber neurons at random.

    Args:
        state: tensors by name; those without axes are handed through.
        classes: of the network.
        generator: draws one permutation per class, in their order.
        only: classes to renumber, all if None.
    """
    orders = [torch.randperm(size, generator=generator) for size in classes.sizes]
    if only is not None:
        orders = [order if i in only else torch.arange(len(order)) for i, order in enumerate(orders)]
    moved = dict(state)
    for name in state.keys() & classes.axes.keys():
        for dimension, axis in enumerate(classes.axes[name]):
            if any(True for _ in classes_of(axis)):
                moved[name] = moved[name].index_select(dimension, positions(axis, orders))
    return moved


def positions(axis: Axis, orders: Sequence[Tensor]) -> Tensor:
    """Old position of every new one along an axis: int64 (axis.size,)."""
    if isinstance(axis, Ordered):
        return torch.arange(axis.size)
    if isinstance(axis, Neurons):
        return orders[axis.number]
    if isinstance(axis, Grid):
        found = torch.zeros(1, dtype=torch.long)
        for part in axis.parts:
            found = (found[:, None] * part.size + positions(part, orders)).flatten()
        return found
    starts, start = [], 0
    for part in axis.parts:
        starts.append(positions(part, orders) + start)
        start += part.size
    return torch.cat(starts)
