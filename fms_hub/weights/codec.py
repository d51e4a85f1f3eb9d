"""A sketch as few bytes: what logs, shards and contributions carry of a checkpoint.

Every column is divided evenly between its smallest and largest value in this network, so that a value is
off by at most 1/510 of that range. Groups of columns that a node does not have cost nothing and come
back as exact zeros.

Layout, compressed by zlib: number of nodes (uint16), one byte of flags per node, then for each group that
any node has the lowest value and the step of its columns (float16 each) and the codes, node by node.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import CheckpointError
from fms_hub.weights.columns import FEATURES, GROUPS
from fms_hub.weights.sketch import SKETCH_VERSION, Sketch

_LEVELS: Final = 255
_MOST: Final = 2**24
"""Bytes that a packed sketch may unpack to."""


def groups_of(sketch: Sketch) -> NDArray[np.bool_]:
    """Which groups each node has, (nodes, groups)."""
    found: NDArray[np.bool_] = np.logical_or.reduceat(
        sketch != 0, [group.start for group in GROUPS.values()], axis=1
    )
    return found


def pack(sketch: Sketch) -> bytes:
    """Quantise a finite sketch (nodes, len(FEATURES)); at most 65,535 nodes."""
    has = groups_of(sketch)
    parts = [
        struct.pack("<BH", SKETCH_VERSION, len(sketch)),
        np.packbits(has, axis=1, bitorder="little").tobytes(),
    ]
    for group, present in zip(GROUPS.values(), has.T, strict=True):
        if present.any():
            parts.append(_encoded(sketch[present, group].astype(np.float64)))
    return zlib.compress(b"".join(parts), 9)


def unpack(content: bytes) -> NDArray[np.float32]:
    """The sketch again, float32 (nodes, len(FEATURES)).

    Raises:
        CheckpointError: damaged, of another sketch version, or nothing that `pack` gave.
    """
    raw = _inflated(content)
    version, nodes = struct.unpack_from("<BH", raw)
    if version != SKETCH_VERSION:
        raise CheckpointError(
            f"expected a sketch of version {SKETCH_VERSION}, found {version}; sketch the weights again."
        )
    table = np.zeros((nodes, len(FEATURES)), np.float32)
    try:
        flags = np.frombuffer(raw, np.uint8, nodes, 3)[:, None]
        has = np.unpackbits(flags, axis=1, count=len(GROUPS), bitorder="little").astype(bool)
        place = 3 + nodes
        for group, present in zip(GROUPS.values(), has.T, strict=True):
            if present.any():
                shape = int(present.sum()), group.stop - group.start
                table[present, group] = _decoded(raw, place, shape)
                place += shape[1] * (4 + shape[0])
    except ValueError as error:
        raise _damaged(str(error)) from error
    if place != len(raw) or not np.isfinite(table).all():
        raise _damaged(f"{len(raw)} bytes, expected {place}")
    return table


def _encoded(values: NDArray[np.float64]) -> bytes:
    low = _down(values.min(0))
    step = -_down(-(values.max(0) - low) / _LEVELS)
    codes = np.rint((values - low) / np.where(step > 0, step, 1.0)).clip(0, _LEVELS)
    return low.astype("<f2").tobytes() + step.astype("<f2").tobytes() + codes.astype(np.uint8).tobytes()


def _decoded(raw: bytes, place: int, shape: tuple[int, int]) -> NDArray[np.float64]:
    rows, width = shape
    low, step = np.frombuffer(raw, "<f2", 2 * width, place).astype(np.float64).reshape(2, width)
    codes = np.frombuffer(raw, np.uint8, rows * width, place + 4 * width).reshape(rows, width)
    found: NDArray[np.float64] = low + step * codes
    return found


def _down(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest half-precision numbers that are not above."""
    near = values.astype(np.float16)
    above = near > values
    near[above] = np.nextafter(near[above], np.float16(-np.inf))
    return near.astype(np.float64)


def _inflated(content: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(content, _MOST)
    except zlib.error as error:
        raise _damaged(str(error)) from error
    if len(raw) < 3 or not inflater.eof:
        raise _damaged(f"{len(raw)} bytes")
    return raw


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(
        f"expected a packed sketch, found something damaged ({why}); sketch the weights again."
    )
