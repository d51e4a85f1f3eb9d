from __future__ import annotations

import zlib

import numpy as np
import pytest
import timm
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fms_hub.errors import CheckpointError
from fms_hub.weights.codec import pack, unpack
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.describe import describe
from fms_hub.weights.sketch import SKETCH_VERSION

NETWORKS = {"test_resnet": 32, "test_vit": 32, "test_mambaout": 32, "test_efficientnet": 32}


@pytest.fixture(scope="module", params=NETWORKS)
def graph(request):
    options = {"img_size": 32, "patch_size": 4} if "vit" in request.param else {}
    return describe(timm.create_model(request.param, num_classes=10, **options), (3, 32, 32))


def test_a_sketch_comes_back_within_half_a_step_and_zeros_exactly(graph):
    found = unpack(pack(graph.sketch))
    assert found.shape == graph.sketch.shape and found.dtype == np.float32
    for column, (true, back) in enumerate(zip(graph.sketch.T, found.T, strict=True)):
        present = true[true != 0] if (true != 0).any() else true
        step = (present.max() - min(present.min(), 0)) / 255
        assert np.abs(true - back).max() <= 0.52 * step + 2e-3 * np.abs(true).max() + 1e-9, FEATURES[column]
    absent = ~graph.sketch[:, :8].any(1)
    assert absent.any() and not found[absent, :8].any()


def test_packing_again_changes_nothing(graph):
    content = pack(graph.sketch)
    once = unpack(content)
    np.testing.assert_allclose(unpack(pack(once)), once, rtol=2e-3, atol=2e-3)
    assert pack(graph.sketch) == content


def test_a_network_of_eighty_tensors_takes_less_than_2500_bytes(graph):
    tensors = len(graph.structure.tensors)
    assert len(pack(graph.sketch)) / tensors * 80 <= 2500


def test_damaged_bytes_are_refused(graph):
    content = pack(graph.sketch)
    raw = zlib.decompress(content)
    for damaged in (
        b"",
        content[:-3],
        content[:40],
        b"x" * 100,
        zlib.compress(raw + b"1"),
        zlib.compress(raw[:-1]),
    ):
        with pytest.raises(CheckpointError, match="damaged"):
            unpack(damaged)
    with pytest.raises(CheckpointError, match=rf"version {SKETCH_VERSION}, found 9"):
        unpack(zlib.compress(b"\x09" + raw[1:]))
    with pytest.raises(CheckpointError, match="damaged"):
        unpack(zlib.compress(bytes(2**25)))


@settings(max_examples=60, deadline=None)
@given(
    npst.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.just(len(FEATURES))),
        elements=st.floats(-100, 100, width=32),
    )
)
def test_any_finite_table_comes_back_near(table):
    found = unpack(pack(table))
    spread = table.max(0) - table.min(0)
    assert (np.abs(found - table) <= spread / 255 + 0.1 + 2e-3 * np.abs(table)).all()
