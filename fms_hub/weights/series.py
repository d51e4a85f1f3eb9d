"""The sketches of one run's checkpoints: each column as what changed since the checkpoint before.

Every value is rounded to a whole multiple of its column's step, a power of two that divides the column's
range in this network into `LEVELS` parts at most. Steps of consecutive checkpoints are mostly equal, so that
differences are small numbers, which a later compression of many sketches together makes little of: nothing
is compressed here.

Layout: version and number of nodes, one byte of flags per node as in `fms_hub.weights.codec`, then for each
group that any node has, of its columns: the exponents of the steps (int8), whether each holds differences
(uint8), the lowest multiples (int32, zero where it does), and the codes (uint8 or int8), column by column.
"""

from __future__ import annotations

import struct
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import CheckpointError
from fms_hub.weights.codec import groups_of
from fms_hub.weights.columns import FEATURES, GROUPS
from fms_hub.weights.sketch import SKETCH_VERSION, Sketch

LEVELS: Final = 63
_FINEST: Final = -100
"""Exponent of the smallest step; what is below half of that is zero."""
_PRECISION: Final = 22
"""A step is at least the column's largest magnitude times 2 to the minus this, so that int32 holds codes."""
_HEAD: Final = struct.Struct("<BH")
_T = TypeVar("_T", bound=np.generic)
Columns = NDArray[np.float64]


def pack_after(sketch: Sketch, before: Sketch | None) -> bytes:
    """Write a finite sketch (nodes, len(FEATURES)); at most 65,535 nodes.

    Args:
        sketch: to be written.
        before: what `unpack_after` gives of the checkpoint before, of the same network; None for the first.
    """
    flags = groups_of(sketch)
    parts = [
        _HEAD.pack(SKETCH_VERSION, len(sketch)),
        np.packbits(flags, axis=1, bitorder="little").tobytes(),
    ]
    for group, nodes in zip(GROUPS.values(), flags.T, strict=True):
        if nodes.any():
            known = None if before is None else _columns(before, group, nodes)
            parts.append(_encoded(_columns(sketch, group, nodes), known))
    return b"".join(parts)


def unpack_after(content: bytes, before: Sketch | None) -> NDArray[np.float32]:
    """The sketch again, float32 (nodes, len(FEATURES)).

    Args:
        content: what `pack_after` gave.
        before: as `pack_after` was given it.

    Raises:
        CheckpointError: damaged, of another sketch version, after another checkpoint, or nothing that
            `pack_after` gave.
    """
    try:
        with np.errstate(all="ignore"):  # hostile exponents
            table = _unpacked(content, before)
    except (ValueError, struct.error) as error:
        raise _damaged(str(error)) from error
    if not np.isfinite(table).all():
        raise _damaged("a value that is not finite")
    return table


def _unpacked(content: bytes, before: Sketch | None) -> NDArray[np.float32]:
    version, nodes = _HEAD.unpack_from(content)
    if version != SKETCH_VERSION:
        raise CheckpointError(
            f"expected a sketch of version {SKETCH_VERSION}, found {version}; sketch the weights again."
        )
    if before is not None and before.shape != (nodes, len(FEATURES)):
        raise ValueError(f"{nodes} nodes after a checkpoint of {len(before)}")
    rest = _Reader(content, _HEAD.size)
    flags = np.unpackbits(rest.take(np.uint8, nodes)[:, None], axis=1, count=len(GROUPS), bitorder="little")
    table = np.zeros((nodes, len(FEATURES)), np.float32)
    for group, has in zip(GROUPS.values(), flags.astype(bool).T, strict=True):
        if has.any():
            known = None if before is None else _columns(before, group, has)
            table[has, group] = _decoded(rest, (group.stop - group.start, int(has.sum())), known).T
    rest.end()
    return table


def _columns(sketch: Sketch, group: slice, nodes: NDArray[np.bool_]) -> Columns:
    """What the nodes have of a group, (columns, nodes)."""
    return sketch[nodes, group].T.astype(np.float64)


def _encoded(values: Columns, known: Columns | None) -> bytes:
    exponents = _exponents(values)
    steps = 2.0 ** exponents[:, None].astype(np.float64)
    multiples = np.rint(values / steps)
    changes = np.full_like(values, np.inf) if known is None else multiples - np.rint(known / steps)
    differ = np.abs(changes).max(1) <= np.iinfo(np.int8).max
    lows = np.where(differ, 0, multiples.min(1))
    codes = np.where(differ[:, None], changes, multiples - lows[:, None])
    parts = exponents, differ.astype(np.uint8), lows.astype("<i4"), codes.astype(np.int16).astype(np.uint8)
    return b"".join(part.tobytes() for part in parts)


def _decoded(rest: _Reader, shape: tuple[int, int], known: Columns | None) -> Columns:
    width, nodes = shape
    steps = 2.0 ** rest.take(np.int8, width)[:, None].astype(np.float64)
    differ = rest.take(np.uint8, width)[:, None] == 1
    lows = rest.take(np.dtype("<i4"), width)[:, None]
    codes = rest.take(np.uint8, width * nodes).reshape(shape)
    if known is None:
        if differ.any():
            raise ValueError("differences from a checkpoint that is not there")
        return (lows + codes.astype(np.float64)) * steps
    found: Columns = np.where(
        differ, np.rint(known / steps) + codes.view(np.int8), lows + codes.astype(np.float64)
    )
    return found * steps


def _exponents(values: Columns) -> NDArray[np.int8]:
    """Of the columns' steps, which are powers of two."""
    ranges, largest = np.ptp(values, axis=1) / LEVELS, np.abs(values).max(1) * 2.0**-_PRECISION
    steps = np.maximum(np.maximum(ranges, largest), 2.0**_FINEST)
    found: NDArray[np.int8] = np.ceil(np.log2(steps)).astype(np.int8)
    return found


class _Reader:
    """Takes numbers off bytes.

    Args:
        content: to be read.
        place: where to begin.
    """

    def __init__(self, content: bytes, place: int) -> None:
        self._content = content
        self._place = place

    def take(self, kind: type[_T] | np.dtype[_T], count: int) -> NDArray[_T]:
        """The next numbers.

        Raises:
            ValueError: there are not so many.
        """
        found = np.frombuffer(self._content, kind, count, self._place) if count else np.empty(0, kind)
        self._place += found.nbytes
        return found

    def end(self) -> None:
        """See that nothing is left.

        Raises:
            ValueError: there is.
        """
        if self._place != len(self._content):
            raise ValueError(f"{len(self._content)} bytes, expected {self._place}")


def _damaged(why: str) -> CheckpointError:
    return CheckpointError(
        f"expected a sketch of a series, found something damaged ({why}); sketch the weights again."
    )
