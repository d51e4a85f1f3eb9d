"""The sketches of one run's checkpoints: each column as what changed since the checkpoint before.

Every value is rounded to a whole multiple of its column's step, a power of two that divides the column's
range in this network into `LEVELS` parts at most. Steps of consecutive checkpoints are mostly equal, so that
differences are small numbers, which a later compression of many sketches together makes little of: nothing
is compressed here.

Layout: version and number of nodes, one byte of flags per node as in `fms_hub.weights.codec`, then for each
column of a group that any node has its step's exponent (int8); a bit whether it holds differences; the lowest
multiple (int32) of those that do not; the codes (uint8) column by column, node by node.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import CheckpointError
from fms_hub.weights.codec import GROUPS
from fms_hub.weights.sketch import FEATURES, SKETCH_VERSION, Sketch

LEVELS: Final = 63
_FINEST: Final = -100
"""Exponent of the smallest step; what is below half of that is zero."""
_PRECISION: Final = 22
"""A step is at least the column's largest magnitude times two to the minus this, so that int32 holds codes."""
_HEAD: Final = struct.Struct("<BH")
_T = TypeVar("_T", bound=np.generic)


@dataclass(frozen=True)
class _Columns:
    """The columns that a sketch has, one after the other.

    Attributes:
        flags: which groups each node has, bool (nodes, groups).
        features: index of each column in `FEATURES`.
        nodes: which nodes have it, bool (nodes,) each.
    """

    flags: NDArray[np.bool_]
    features: list[int]
    nodes: list[NDArray[np.bool_]]

    @classmethod
    def of(cls, flags: NDArray[np.bool_]) -> _Columns:
        there = [(group, has) for group, has in zip(GROUPS, flags.T, strict=True) if has.any()]
        features = [column for group, _ in there for column in range(group.start, group.stop)]
        return cls(flags, features, [has for group, has in there for _ in range(group.start, group.stop)])


def pack_after(sketch: Sketch, before: Sketch | None) -> bytes:
    """Write a finite sketch (nodes, len(FEATURES)); at most 65,535 nodes.

    Args:
        sketch: to be written.
        before: what `unpack_after` gives of the checkpoint before, of the same network; None for the first.
    """
    columns = _Columns.of(np.stack([sketch[:, group].any(1) for group in GROUPS], 1))
    exponents, differences, lows, codes = [], [], [], []
    for column, nodes in zip(columns.features, columns.nodes, strict=True):
        values = sketch[nodes, column].astype(np.float64)
        exponents.append(exponent := _exponent(values))
        multiples = np.rint(values / 2.0**exponent)
        change = None if before is None else multiples - _known(before, column, nodes, exponent)
        differences.append(change is not None and bool(np.abs(change).max() <= np.iinfo(np.int8).max))
        if change is not None and differences[-1]:
            codes.append(change.astype(np.int8).tobytes())
        else:
            lows.append(multiples.min())
            codes.append((multiples - lows[-1]).astype(np.uint8).tobytes())
    parts = [
        _HEAD.pack(SKETCH_VERSION, len(sketch)),
        np.packbits(columns.flags, axis=1, bitorder="little").tobytes(),
        np.array(exponents, np.int8).tobytes(),
        np.packbits(np.array(differences, bool), bitorder="little").tobytes(),
        np.array(lows, "<i4").tobytes(),
        *codes,
    ]
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
    columns = _Columns.of(flags.astype(bool))
    exponents = rest.take(np.int8, len(columns.features)).tolist()
    bits = rest.take(np.uint8, -(-len(exponents) // 8))
    differences = np.unpackbits(bits, count=len(exponents), bitorder="little").astype(bool)
    lows = iter(rest.take(np.dtype("<i4"), int((~differences).sum())).tolist())
    table = np.zeros((nodes, len(FEATURES)), np.float32)
    for column, has, exponent, difference in zip(
        columns.features, columns.nodes, exponents, differences, strict=True
    ):
        count = int(has.sum())
        if not difference:
            multiples = next(lows) + rest.take(np.uint8, count).astype(np.float64)
        elif before is not None:
            multiples = _known(before, column, has, exponent) + rest.take(np.int8, count)
        else:
            raise ValueError("differences from a checkpoint that is not there")
        table[has, column] = multiples * 2.0**exponent
    rest.end()
    return table


def _exponent(values: NDArray[np.float64]) -> int:
    """Of the step, a power of two."""
    step = max(np.ptp(values) / LEVELS, float(np.abs(values).max()) * 2.0**-_PRECISION, 2.0**_FINEST)
    return int(np.ceil(np.log2(step)))


def _known(before: Sketch, column: int, nodes: NDArray[np.bool_], exponent: int) -> NDArray[np.float64]:
    """The checkpoint before, in multiples of this one's step."""
    found: NDArray[np.float64] = np.rint(before[nodes, column].astype(np.float64) / 2.0**exponent)
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
