"""Rules of operations that rearrange, cut, join or look up positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.weight_passing.calls import Call, opaque
from training.weight_passing.labels import Fixed, fix, fresh, product
from training.weight_passing.shapes import (
    Label,
    Stack,
    broadcast,
    collapse,
    drop,
    fix_all,
    fixed,
    free,
    insert,
    join,
    permute,
    reshape,
    select,
)


def same(call: Call) -> Label:
    """The tensor itself or a copy."""
    return call.label


def follow_free(call: Call) -> Label:
    """Equal values."""
    return free(call.results[0].shape)


def follow_copy(call: Call) -> Label:
    """Views share the atoms of their base, so a write into a part ties the whole."""
    return broadcast([call.labels[tensor] for tensor in call.tensors], call.results[0].shape)


def view(call: Call) -> Label:
    """A reshape."""
    label, shape = call.label, call.results[0].shape
    if isinstance(label, Stack) and label.ndim == len(shape) and call.source.shape == shape:
        return label
    return reshape(collapse(label), shape, call.labels.operation, call.labels.hints)


def follow_permute(call: Call) -> Label:
    """Dimensions in another order."""
    return permute(call.label, [int(d) % call.source.ndim for d in call.values["dims"]])


def transpose(call: Call) -> Label:
    """Two dimensions exchanged."""
    order = list(range(call.source.ndim))
    first, second = call.axis("dim0"), call.axis("dim1")
    order[first], order[second] = second, first
    return permute(call.label, order)


def t(call: Call) -> Label:
    """A matrix transposed."""
    return permute(call.label, range(call.source.ndim)[::-1])


def follow_expand(call: Call) -> Label:
    """Dimensions of one position repeated."""
    return broadcast([collapse(call.label)], call.results[0].shape)


def squeeze(call: Call) -> Label:
    """Dimensions of one position dropped."""
    dims = call.values.get("dim", range(call.source.ndim))
    axes = {int(d) % call.source.ndim for d in (dims if isinstance(dims, Sequence | range) else [dims])}
    label = call.label
    for axis in sorted(axes, reverse=True):
        if call.source.shape[axis] == 1:
            label = drop(label, axis)
    return label


def unsqueeze(call: Call) -> Label:
    """A dimension of one position inserted."""
    return insert(call.label, int(call.values["dim"]) % (call.source.ndim + 1))


def _part(call: Call, axis: int, start: int, stop: int) -> Label:
    label, hints = select(call.label, axis, start, stop)
    call.labels.wanted |= hints
    return label


def follow_slice(call: Call) -> Label:
    """A range of positions."""
    axis, size = call.axis(), call.source.shape[call.axis()]
    start, stop, step = slice(call.values["start"], call.values["end"], call.values["step"]).indices(size)
    if step != 1:
        dims = list(collapse(call.label))
        fix(dims[axis])
        dims[axis] = Fixed(call.results[0].shape[axis])
        return tuple(dims)
    return _part(call, axis, start, max(start, stop))


def follow_select(call: Call) -> Label:
    """One position."""
    axis = call.axis()
    index = int(call.values["index"]) % call.source.shape[axis]
    return drop(_part(call, axis, index, index + 1), axis)


def unbind(call: Call) -> list[Label]:
    """Every position for itself."""
    axis = call.axis()
    return [drop(_part(call, axis, i, i + 1), axis) for i in range(call.source.shape[axis])]


def follow_split(call: Call) -> list[Label]:
    """Consecutive ranges."""
    axis, start, labels = call.axis(), 0, list[Label]()
    for result in call.results:
        labels.append(_part(call, axis, start, start + result.shape[axis]))
        start += result.shape[axis]
    return labels


def cat(call: Call) -> Label:
    """One tensor after the other."""
    shaped = [tensor for tensor in call.tensors if tensor.ndim == call.results[0].ndim]
    return join([call.labels[t] for t in shaped], int(call.values["dim"]) % call.results[0].ndim)


def stack(call: Call) -> Label:
    """Tensors as slots of a new axis."""
    axis = int(call.values["dim"]) % call.results[0].ndim
    return Stack(axis, tuple(call.labels[tensor] for tensor in call.tensors))


def repeat(call: Call) -> Label:
    """Dimensions tiled."""
    repeats, dims = list(call.values["repeats"]), call.labels[call.source]
    padded = (*[Fixed(1)] * (len(repeats) - len(dims)), *dims)
    return tuple(product([fresh(int(n)), dim]) for n, dim in zip(repeats, padded, strict=True))


def ordered(call: Call) -> Label:
    """Operations for which the order along the named dimensions counts: roll, flip, cumulative sums."""
    dims = list(call.labels[call.source])
    named = call.values.get("dims", call.values.get("dim"))
    if named == []:
        return opaque(call)[0]
    for d in named if isinstance(named, Sequence) else [call.axis()]:
        fix(dims[int(d)])
    return tuple(dims)


def glu(call: Call) -> Label:
    """Two halves multiplied."""
    axis = call.axis()
    half = call.source.shape[axis] // 2
    first, second = collapse(_part(call, axis, 0, half)), collapse(_part(call, axis, half, 2 * half))
    return broadcast([first, second], call.results[0].shape)


def embedding(call: Call) -> Label:
    """Rows of a table."""
    rows, columns = call.dims("weight")
    fix(rows)
    fix_all(call.dims("indices"))
    return (*fixed(call.values["indices"].shape), columns)


def index(call: Call) -> Label:
    """Positions looked up by tensors of indices."""
    indices = list(call.values["indices"])
    places = [i for i, index in enumerate(indices) if index is not None]
    dims = call.dims("self")
    if any(indices[i].dtype in (torch.bool, torch.uint8) for i in places):
        return opaque(call)[0]
    for i in places:
        fix(dims[i])
        fix_all(call.labels.raw(indices[i]))
    together = places == list(range(places[0], places[-1] + 1))
    width = call.results[0].ndim - len(dims) + len(places)
    start = places[0] if together else 0
    block = fixed(call.results[0].shape[start : start + width])
    others = [dim for i, dim in enumerate(dims) if i not in places]
    return (*others[:start], *block, *others[start:])


def index_select(call: Call) -> Label:
    """Positions along one dimension looked up."""
    dims, axis = list(call.dims("self")), call.axis()
    fix(dims[axis])
    dims[axis] = Fixed(call.results[0].shape[axis])
    return tuple(dims)


def as_strided(call: Call) -> Label:
    """Pooling restrides its result in place; anything else is unknown."""
    before, after = call.source, call.results[0]
    same = before is after and before.storage_offset() == 0 and before.numel() == _span(after)
    return call.label if same else opaque(call)[0]


def _span(tensor: Tensor) -> int:
    """Elements from the first to the last one of a tensor."""
    return 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
