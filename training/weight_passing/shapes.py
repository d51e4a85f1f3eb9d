"""Labels of whole tensors: reshaping, and stacks whose slots keep labels of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

from training.weight_passing.labels import (
    UNIT,
    Atom,
    Expr,
    Fixed,
    Misaligned,
    Sum,
    concatenation,
    cut,
    fix,
    fresh,
    resolve,
    size_of,
    take,
    unify,
)

Dims: TypeAlias = tuple[Expr, ...]


@dataclass(frozen=True)
class Stack:
    """A tensor whose slots along one axis (the q, k and v of a packed projection) have their own labels."""

    axis: int
    slots: tuple[Dims, ...]

    @property
    def ndim(self) -> int:
        """Number of dimensions, the axis of the slots included."""
        return len(self.slots[0]) + 1


Label: TypeAlias = Dims | Stack
Hint: TypeAlias = tuple[int, int]
"""Number of an operation in the forward, and the dimension of its result that was cut into slots later."""


def collapse(label: Label) -> Dims:
    """One label for all slots: their dimensions tied to each other, their axis fixed."""
    if not isinstance(label, Stack):
        return label
    first = label.slots[0]
    for slot in label.slots[1:]:
        for one, other in zip(first, slot, strict=True):
            unify(one, other)
    dims = list(first)
    dims.insert(label.axis, Fixed(len(label.slots)))
    return tuple(dims)


def fixed(shape: Sequence[int]) -> Dims:
    """Nothing may be renumbered."""
    return tuple(Fixed(int(size)) for size in shape)


def free(shape: Sequence[int]) -> Dims:
    """Everything may be renumbered, as in a tensor of equal values."""
    return tuple(fresh(int(size)) for size in shape)


def fix_all(label: Label) -> None:
    """Forbid every renumbering of a tensor's positions."""
    for dims in label.slots if isinstance(label, Stack) else (label,):
        for dim in dims:
            fix(dim)


def reshape(dims: Sequence[Expr], shape: Sequence[int], operation: int, hints: Set[Hint]) -> Label:
    """Follow a reshape.

    Args:
        dims: of the tensor.
        shape: of the result.
        operation: number of the operation; factors split off here are marked with it.
        hints: dimensions of results to treat as slots where a factor is split.

    Raises:
        Misaligned: the old and the new sizes have no common factorisation.
    """
    return _carve([], list(dims), [int(size) for size in shape], operation, hints)


def _carve(
    done: list[Expr], factors: list[Expr], shape: list[int], operation: int, hints: Set[Hint]
) -> Label:
    dims = list(done)
    for axis in range(len(done), len(shape)):
        size = shape[axis]
        slots = _slots(factors, size, (operation, axis) in hints) if size > 1 else []
        if slots:
            rest = shape[:axis] + shape[axis + 1 :]
            labels = [collapse(_carve(dims, [slot, *factors[1:]], rest, operation, set())) for slot in slots]
            return Stack(axis, tuple(labels))
        dims.append(take(factors, size, (operation, axis)) if size != 1 else UNIT)
    return tuple(dims)


def _slots(factors: list[Expr], count: int, wanted: bool) -> list[Expr]:
    """Equal parts of the first factor, if it is a sum of so many or if slots are wanted."""
    while factors and resolve(factors[0]) == UNIT:
        factors.pop(0)
    if not factors:
        return []
    head = resolve(factors[0])
    size = size_of(head)
    if size <= count or size % count:
        return []
    step = size // count
    even = isinstance(head, Sum) and [size_of(part) for part in head.parts] == [step] * count
    if not (even or (wanted and isinstance(head, Atom | Sum))):
        return []
    return _cut_evenly(head, step)


def _cut_evenly(head: Expr, step: int) -> list[Expr]:
    parts: list[Expr] = []
    while size_of(head):
        part, head = cut(head, step)
        parts.append(part)
    return [resolve(part) for part in parts]


def select(label: Label, axis: int, start: int, stop: int) -> tuple[Label, set[Hint]]:
    """Positions start to stop of an axis, which stays.

    Returns:
        The label, and hints at where the axis was split off if it should be slots in another pass.
    """
    if isinstance(label, Stack):
        if axis == label.axis and stop - start >= 1:
            return Stack(axis, label.slots[start:stop]), set()
        inner = axis - (axis > label.axis)
        if axis != label.axis:
            found = [select(slot, inner, start, stop) for slot in label.slots]
            return Stack(label.axis, tuple(collapse(dims) for dims, _ in found)), set().union(
                *(hints for _, hints in found)
            )
        label = collapse(label)
    dims = list(label)
    known = resolve(dims[axis])
    hints = {known.origin} if isinstance(known, Atom) and known.origin is not None else set()
    if stop - start == size_of(dims[axis]):
        return label, set()
    try:
        _, rest = cut(dims[axis], start)
        dims[axis], _ = cut(rest, stop - start)
    except Misaligned:
        fix(dims[axis])
        dims[axis] = Fixed(stop - start)
    return tuple(dims), hints


def drop(label: Label, axis: int) -> Label:
    """Without an axis of one position."""
    if isinstance(label, Stack):
        if axis == label.axis:
            return label.slots[0]
        inner = axis - (axis > label.axis)
        return Stack(label.axis - (axis < label.axis), tuple(_without(slot, inner) for slot in label.slots))
    return _without(label, axis)


def insert(label: Label, axis: int) -> Label:
    """With a new axis of one position."""
    if isinstance(label, Stack):
        moved = label.axis + (axis <= label.axis)
        inner = axis - (axis > moved)
        return Stack(moved, tuple((*slot[:inner], UNIT, *slot[inner:]) for slot in label.slots))
    return (*label[:axis], UNIT, *label[axis:])


def _without(dims: Dims, axis: int) -> Dims:
    return dims[:axis] + dims[axis + 1 :]


def permute(label: Label, order: Sequence[int]) -> Label:
    """Dimensions in another order."""
    if isinstance(label, Stack):
        axis = label.axis
        inner = [d - (d > axis) for d in order if d != axis]
        return Stack(list(order).index(axis), tuple(tuple(slot[d] for d in inner) for slot in label.slots))
    return tuple(label[d] for d in order)


def broadcast(labels: Iterable[Dims], shape: Sequence[int]) -> Dims:
    """Tie tensors that are combined element by element; dimensions of one position fit every other."""
    result: list[Expr | None] = [None] * len(shape)
    for dims in labels:
        for back, dim in enumerate(reversed(dims)):
            place = len(shape) - 1 - back
            if size_of(dim) == shape[place]:
                known = result[place]
                result[place] = dim if known is None else unify(known, dim)
    return tuple(fresh(size) if dim is None else dim for dim, size in zip(result, shape, strict=True))


def join(labels: Sequence[Dims], axis: int) -> Dims:
    """Concatenate: the axis becomes a sum, the other dimensions are tied."""
    dims = list(labels[0])
    for other in labels[1:]:
        for place, dim in enumerate(other):
            if place != axis:
                unify(dims[place], dim)
    dims[axis] = concatenation(label[axis] for label in labels)
    return tuple(dims)
