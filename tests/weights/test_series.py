from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fms_hub.errors import CheckpointError
from fms_hub.weights.columns import FEATURES, GROUPS
from fms_hub.weights.series import LEVELS, pack_after, unpack_after

NODES = 5
TABLES = npst.arrays(
    np.float32, (NODES, len(FEATURES)), elements=st.floats(-1000, 1000, width=32) | st.just(0.0)
)


def near(found: np.ndarray, true: np.ndarray) -> bool:
    """Half a step, which is less than a range over `LEVELS`, or what int32 codes leave of large numbers."""
    step = np.maximum(np.ptp(true, axis=0) / LEVELS, np.abs(true).max(0) * 2.0**-21)
    return bool((np.abs(found - true) <= step + 1e-30).all())


@settings(max_examples=60, deadline=None)
@given(st.lists(TABLES, min_size=1, max_size=4))
def test_every_checkpoint_of_a_run_comes_back_near(tables):
    before = None
    for table in tables:
        found = unpack_after(pack_after(table, before), before)
        assert found.dtype == np.float32
        assert near(found, table)
        for group in GROUPS.values():
            assert not found[~table[:, group].any(1), group].any()
        before = found


def walk(steps: int, seed: int = 0) -> list[np.ndarray]:
    """Checkpoints that move by a hundredth of their spread."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(40, len(FEATURES)))
    return [(table := table + 0.01 * rng.normal(size=table.shape)).astype(np.float32) for _ in range(steps)]


def test_what_changed_little_is_written_as_small_numbers():
    first, second = walk(2)
    before = unpack_after(pack_after(first, None), None)
    after = pack_after(second, before)
    assert len(after) == len(pack_after(second, None))
    codes = np.frombuffer(after, np.int8)[-40:]
    assert np.abs(codes.astype(int)).max() <= 2
    assert near(unpack_after(after, before), second)


def test_errors_do_not_add_up():
    before = None
    for table in walk(200):
        before = unpack_after(pack_after(table, before), before)
    assert near(before, table)


def test_damaged_bytes_are_refused():
    first, second = walk(2)
    content = pack_after(first, None)
    before = unpack_after(content, None)
    after = pack_after(second, before)
    for damaged in (b"", content[:2], content[:30], content[:-1], content + b"x"):
        with pytest.raises(CheckpointError, match="damaged"):
            unpack_after(damaged, None)
    with pytest.raises(CheckpointError, match="differences from a checkpoint that is not there"):
        unpack_after(after, None)
    with pytest.raises(CheckpointError, match="40 nodes after a checkpoint of 39"):
        unpack_after(after, before[:39])
    with pytest.raises(CheckpointError, match="version 2, found 9"):
        unpack_after(b"\x09" + content[1:], None)


@settings(max_examples=200, deadline=None)
@given(st.integers(3 + 40, 2000), st.integers(1, 255))
def test_any_changed_byte_is_refused_or_gives_finite_numbers(place, change):
    content = bytearray(pack_after(walk(1)[0], None))
    content[place] ^= change
    with contextlib.suppress(CheckpointError):
        assert np.isfinite(unpack_after(bytes(content), None)).all()
