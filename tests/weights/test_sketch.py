"""Sketches against plain definitions, on odd tensors, under permutations."""

from __future__ import annotations

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fms_hub.errors import CheckpointError
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.matrices import MATRIX_FEATURES
from fms_hub.weights.responses import RESPONSE_FEATURES
from fms_hub.weights.sketch import SKETCH_VERSION, sketch
from fms_hub.weights.structure import Kind, Node, Owned, Role, Structure


def _structure(*nodes: Node) -> Structure:
    return Structure((Node("input"), *nodes, Node("output")), (), (), 0, 0, "meta")


def _node(kind: Kind, shape: tuple[int, ...], role: Role = "matrix", **options: int) -> Node:
    return Node(kind, (Owned("w", role, shape),), options.get("groups", 1), bool(options.get("flipped", 0)))


def _sketch(weight: Tensor, kind: Kind = "linear", role: Role = "matrix", **options: int) -> dict[str, float]:
    table = sketch(_structure(_node(kind, tuple(weight.shape), role, **options)), {"w": weight})
    return dict(zip(FEATURES, table[1].tolist(), strict=True))


def _close(a: dict[str, float], b: dict[str, float], tolerance: float = 1e-10) -> None:
    np.testing.assert_allclose(list(a.values()), list(b.values()), rtol=tolerance, atol=tolerance)


def _weights(*shape: int, seed: int = 0) -> Tensor:
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return noise * 0.1 + 0.02 * noise**2


def test_features_are_what_their_names_say() -> None:
    weight = _weights(40, 30)
    found, array = _sketch(weight), weight.numpy()
    rms = np.sqrt((array**2).mean())
    norms, columns = np.linalg.norm(array, axis=1), np.linalg.norm(array, axis=0)
    singular = np.linalg.svd(array, compute_uv=False)
    units = array / np.linalg.norm(array, axis=1, keepdims=True)
    expected = {
        "log_rms": np.log(rms),
        "log_gain": np.log(rms * np.sqrt(30)),
        "mean": array.mean() / rms,
        "low": -np.log1p(-array.min() / 1e-3),
        "high": np.log1p(array.max() / 1e-3),
        "skew": np.arcsinh((array**3).mean() / rms**3),
        "log_kurtosis": np.log((array**4).mean() / rms**4),
        "positive": (array > 0).mean(),
        "cdf_0.1": (np.abs(array) <= 0.1 * rms).mean(),
        "cdf_1.3": (np.abs(array) <= 1.3 * rms).mean(),
        "row_q0": np.log(norms.min()),
        "row_q25": np.log(np.quantile(norms, 0.25)),
        "row_q100": np.log(norms.max()),
        "row_offset": (array.mean(1) ** 2 / (array**2).mean(1)).mean(),
        "row_coherence": np.log((units.sum(0) ** 2).sum() / 40 + 0.01),
        "column_q75": np.log(np.quantile(columns, 0.75)),
        "column_offset": (array.mean(0) ** 2 / (array**2).mean(0)).mean(),
        "tap_constant": 1.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-9)
    spectral = np.exp(found["log_spectral"]) * rms * (np.sqrt(40) + np.sqrt(30))
    assert 0.94 * singular[0] <= spectral <= singular[0] * (1 + 1e-9)
    assert np.exp(found["log_sigma"]) == pytest.approx(spectral, rel=1e-9)
    rank = np.exp(found["log_stable_rank"]) * 30
    assert rank == pytest.approx((array**2).sum() / spectral**2, rel=1e-9)
    assert found["krylov_0"] < found["krylov_1"] < 0


def test_spectrum_of_a_rank_one_matrix() -> None:
    found = _sketch(torch.outer(_weights(20), _weights(50, seed=1)))
    assert found["log_stable_rank"] == pytest.approx(-np.log(20), abs=1e-9)
    assert found["krylov_1"] == pytest.approx(0, abs=1e-9)


def test_kernels_are_told_apart_by_where_their_energy_is() -> None:
    flat, ramp, point = (torch.zeros(6, 5, 3, 3, dtype=torch.float64) for _ in range(3))
    flat += _weights(6, 5)[..., None, None]
    ramp += _weights(6, 5)[..., None, None] * torch.tensor([-1.0, 0, 1])
    point[..., 1, 1] = _weights(6, 5)
    assert _sketch(flat, "conv")["tap_constant"] == pytest.approx(1)
    assert _sketch(ramp, "conv")["tap_linear"] == pytest.approx(1)
    found = _sketch(point, "conv")
    shares = [found[f"tap_{name}"] for name in ("centre", "radius", "constant")]
    assert shares == pytest.approx([1, 0, 1 / 9])


@pytest.mark.parametrize("shape", [(24, 36), (300, 500), (12, 8, 3, 3), (256, 64, 5, 3)])
def test_rows_and_columns_may_be_renumbered(shape: tuple[int, ...]) -> None:
    weight = _weights(*shape)
    kind: Kind = "conv" if len(shape) > 2 else "linear"
    shuffled = weight[torch.randperm(shape[0])][:, torch.randperm(shape[1])]
    _close(_sketch(weight, kind), _sketch(shuffled, kind))


def test_taps_may_not_be_renumbered() -> None:
    weight = _weights(12, 8, 3, 3)
    assert (
        abs(_sketch(weight, "conv")["tap_linear"] - _sketch(weight.roll(1, 3), "conv")["tap_linear"]) > 1e-3
    )


def test_grouped_channels_may_be_renumbered_within_and_between_groups_only() -> None:
    weight = _weights(4, 6, 5, 3, 3)
    weight *= (
        1 + torch.arange(4, dtype=torch.float64).view(4, 1, 1, 1, 1) + torch.arange(5).view(1, 1, 5, 1, 1)
    )
    parts = [group[torch.randperm(6)][:, torch.randperm(5)] for group in weight[torch.randperm(4)]]
    shuffled, whole = torch.cat(parts), weight.flatten(0, 1)
    _close(_sketch(whole, "conv", groups=4), _sketch(shuffled, "conv", groups=4))
    mixed = _sketch(whole[torch.randperm(24, generator=torch.Generator().manual_seed(0))], "conv", groups=4)
    assert abs(mixed["column_q75"] - _sketch(whole, "conv", groups=4)["column_q75"]) > 1e-3


def test_large_grouped_kernels_are_read_in_pieces() -> None:
    weight = _weights(4, 64, 64, 9) * torch.arange(1, 5).view(4, 1, 1, 1)
    norms = weight.square().sum((1, 3)).flatten().sqrt().numpy()
    rows = weight.square().sum((2, 3)).flatten().sqrt().numpy()
    found = _sketch(weight.reshape(256, 64, 3, 3), "conv", groups=4)
    for name, values in (("column", norms), ("row", rows)):
        assert found[f"{name}_q75"] == pytest.approx(np.log(np.quantile(values, 0.75)), rel=1e-9)
    share = weight.abs() <= 1.3 * weight.square().mean().sqrt()
    assert found["cdf_1.3"] == pytest.approx(float(share.double().mean()), rel=1e-9)


def test_depthwise_blocks_have_the_spectrum_of_their_largest_row() -> None:
    weight = _weights(64, 1, 3, 3)
    weight[7] *= 30
    found = _sketch(weight, "conv", groups=64)
    rows = weight.flatten(1).norm(dim=1)
    rank = np.exp(found["log_stable_rank"]) * 64
    assert rank == pytest.approx(float((rows**2).sum() / rows.max() ** 2), rel=1e-6)


def test_flipped_layouts_give_the_sketch_of_what_they_mean() -> None:
    linear, conv = _weights(10, 14), _weights(6, 4, 3, 3)
    _close(_sketch(linear), _sketch(linear.T.contiguous(), flipped=1))
    _close(_sketch(conv, "conv"), _sketch(conv.transpose(0, 1).contiguous(), "conv", flipped=1))


def test_many_small_tensors_give_what_each_gives_alone() -> None:
    shapes = [(70, 40), (30, 20), (9,), (70, 40), (30, 20), (70, 40)]
    weights = {f"w{i}": _weights(*shape, seed=i).float() for i, shape in enumerate(shapes)}
    nodes = [
        Node("linear", (Owned(n, "matrix" if w.ndim > 1 else "bias", tuple(w.shape)),))
        for n, w in weights.items()
    ]
    together = sketch(_structure(*nodes), weights)[1:-1]
    alone = np.concatenate([sketch(_structure(node), weights)[1:-1] for node in nodes])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_the_same_to_a_hundredth(dtype: torch.dtype) -> None:
    weight = _weights(64, 32, 3, 3).to(dtype)
    exact, found = _sketch(weight.double(), "conv"), _sketch(weight, "conv")
    _close(exact, found, 1e-4)
    _close(_sketch(_weights(64, 32, 3, 3), "conv"), found, 1e-2)


def test_vectors_keep_their_size_and_their_signs() -> None:
    vectors = [_weights(50, seed=seed) * size for seed, size in enumerate((1.0, 1e-3, -30.0))]
    nodes = [Node("linear", (Owned(f"v{i}", "bias", (50,)),)) for i in range(3)]
    table = sketch(_structure(*nodes), {f"v{i}": vector for i, vector in enumerate(vectors)})
    for row, vector in zip(table[1:-1], vectors, strict=True):
        found, array = dict(zip(FEATURES, row, strict=True)), vector.numpy()
        points = np.array([array.mean(), *np.quantile(array, (0, 0.25, 0.5, 0.75, 1))])
        scaled = np.sign(points) * np.log1p(np.abs(points) / 1e-3)
        names = ("mean", "q0", "q25", "q50", "q75", "q100")
        assert [found[f"bias_{name}"] for name in names] == pytest.approx(scaled, rel=1e-9)
        assert found["bias_log_std"] == pytest.approx(np.log(array.std()), rel=1e-9)
        assert found["bias_log_rms"] == pytest.approx(np.log(np.sqrt((array**2).mean())), rel=1e-9)


def test_running_statistics_fold_into_the_scale() -> None:
    names = {"scale": "s", "bias": "b", "mean": "m", "var": "v"}
    node = Node("norm", tuple(Owned(name, role, (50,)) for role, name in names.items()))  # type: ignore[arg-type]
    scale, var = _weights(50), _weights(50, seed=1).abs() + 0.5
    state = {"s": scale, "b": torch.zeros(50), "m": 2 * var.sqrt(), "v": var}
    found = dict(zip(FEATURES, sketch(_structure(node), state)[1], strict=True))
    assert found["running_log_shift"] == pytest.approx(np.log(2), abs=1e-4)
    assert found["running_log_var_mean"] == pytest.approx(float(var.log().mean()), abs=1e-4)
    assert found["running_fold_mean"] == pytest.approx(
        float((scale.abs() / var.sqrt()).log().mean()), abs=1e-3
    )
    assert found["bias_log_rms"] == pytest.approx(np.log(1e-6))


_EXTREMES = st.sampled_from([0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, -3e38, 6e-8, 0.1])
_ODD = npst.arrays(
    np.float32,
    npst.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=_EXTREMES | st.floats(-1, 1, width=32),
)


@settings(max_examples=150, deadline=None)
@given(_ODD)
def test_sketches_of_odd_tensors_are_finite(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    weight = torch.from_numpy(array.copy())
    kind: Kind = "conv" if weight.ndim > 2 else "linear"
    for found in (
        _sketch(weight, kind),
        _sketch(weight.flatten(), "norm", "scale"),
        _sketch(weight, "direct"),
    ):
        assert np.isfinite(list(found.values())).all()
        assert max(abs(value) for value in found.values()) < 100


@pytest.mark.parametrize(
    "weight", [torch.zeros(3, 4), torch.ones(1, 1), torch.full((5, 7), -2.0), torch.eye(6)]
)
def test_degenerate_matrices_do_not_depend_on_rounding(weight: Tensor) -> None:
    shuffled = weight.double()[torch.randperm(len(weight))]
    _close(_sketch(weight.double()), _sketch(shuffled), 1e-12)


def test_a_start_that_the_matrix_annihilates_gives_no_noise() -> None:
    weight = torch.tensor([[1.0, -1], [1, -1], [3, -3]]).repeat(1, 7).double() / 3
    _close(_sketch(weight), _sketch(weight[:, torch.randperm(14)]), 1e-12)


@pytest.mark.parametrize("role", ["matrix", "scale", "bias"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_by_name(role: Role, bad: float) -> None:
    good, other = torch.ones(2, 3), torch.ones(2, 3)
    other[1, 1] = bad
    nodes = [Node("linear", (Owned(name, role, (2, 3)),)) for name in ("good", "block.broken")]
    with pytest.raises(CheckpointError, match=r"finite values in 'block\.broken'"):
        sketch(_structure(*nodes), {"good": good, "block.broken": other})


def test_tensors_that_do_not_fit_are_refused_by_name() -> None:
    structure = _structure(_node("linear", (2, 3)))
    with pytest.raises(CheckpointError, match=r"'w'.*found none"):
        sketch(structure, {"v": torch.ones(2, 3)})
    with pytest.raises(CheckpointError, match=r"'w' of shape \(2, 3\), found \(3, 2\)"):
        sketch(structure, {"w": torch.ones(3, 2)})
    with pytest.raises(CheckpointError, match=r"'w'.*torch\.int64"):
        sketch(structure, {"w": torch.ones(2, 3, dtype=torch.long)})
    with pytest.raises(CheckpointError, match=r"'w'.*meta"):
        sketch(structure, {"w": torch.ones(2, 3, device="meta")})


def test_empty_tensors_count_as_absent() -> None:
    assert set(_sketch(torch.ones(0, 3)).values()) == {0.0}
    assert set(_sketch(torch.ones(0), "norm", "scale").values()) == {0.0}


def test_names_and_version_are_fixed() -> None:
    assert SKETCH_VERSION == 2
    assert len(set(FEATURES)) == len(FEATURES) == len(MATRIX_FEATURES) + 21 + len(RESPONSE_FEATURES)
