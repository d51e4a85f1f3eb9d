"""Rules of operations on windows and pixels of images."""

from __future__ import annotations

from training.weight_passing.calls import Call
from training.weight_passing.labels import Fixed, fix, product, size_of, split
from training.weight_passing.shapes import (
    Label,
    fixed,
)


def pixel_shuffle(call: Call) -> Label:
    """Channels to pixels."""
    *batch, channels, height, width = call.labels[call.source]
    factor = int(call.values["upscale_factor"])
    outer, inner = split(channels, size_of(channels) // factor**2)
    for dim in (inner, height, width):
        fix(dim)
    return (*batch, outer, *fixed(call.results[0].shape[-2:]))


def pixel_unshuffle(call: Call) -> Label:
    """Pixels to channels."""
    *batch, channels, height, width = call.labels[call.source]
    fix(height)
    fix(width)
    inner = Fixed(int(call.values["downscale_factor"]) ** 2)
    return (*batch, product([channels, inner]), *fixed(call.results[0].shape[-2:]))


def channel_shuffle(call: Call) -> Label:
    """Groups of channels interleaved."""
    first, channels, *rest = call.labels[call.source]
    outer, inner = split(channels, int(call.values["groups"]))
    return (first, product([inner, outer]), *rest)


def im2col(call: Call) -> Label:
    """Windows to rows."""
    first, channels, *rest = call.labels[call.source]
    for dim in rest:
        fix(dim)
    taps = call.results[0].shape[1] // size_of(channels)
    return (first, product([channels, Fixed(taps)]), Fixed(call.results[0].shape[2]))


def col2im(call: Call) -> Label:
    """Rows back to windows."""
    first, rows, columns = call.labels[call.source]
    taps = fix(split(rows, call.results[0].shape[1])[1])
    assert isinstance(taps, Fixed)
    fix(columns)
    return (first, split(rows, call.results[0].shape[1])[0], *fixed(call.results[0].shape[2:]))


def spatial(call: Call) -> Label:
    """Operations over the last two dimensions."""
    dims = call.labels[call.source]
    for dim in dims[-2:]:
        fix(dim)
    return (*dims[:-2], *fixed(call.results[0].shape[-2:]))


def padding(call: Call) -> Label:
    """Padded dimensions keep their order."""
    dims, shape = list(call.labels[call.source]), call.results[0].shape
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        if size_of(dim) != size:
            fix(dim)
            dims[axis] = Fixed(size)
    return tuple(dims)


def unfold(call: Call) -> Label:
    """Windows along one dimension."""
    dims, axis = list(call.labels[call.source]), int(call.values["dimension"]) % call.source.ndim
    fix(dims[axis])
    dims[axis] = Fixed(call.results[0].shape[axis])
    return (*dims, Fixed(call.results[0].shape[-1]))
