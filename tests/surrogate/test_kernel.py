"""The kernel: positive definite whatever is absent, and its diagonal the one it claims."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fms_hub.surrogate.kernel import Group, GroupedKernel, GroupKernel
from fms_hub.surrogate.residual import ResidualKernel

GROUPS = (
    Group("fidelity", 2),
    Group("hyperparameters", 4),
    Group("curve", 5, linear=True),
    Group("weights", 20),
    Group("candidate", 1, categorical=True),
)


def rows(n: int, seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    blocks = []
    for group in GROUPS:
        present = rng.random(n) < (1.0 if group.name == "fidelity" else 0.6)
        values = rng.integers(0, 3, (n, 1)) if group.categorical else rng.normal(size=(n, group.width))
        blocks += [np.where(present[:, None], values, 0.0), present[:, None]]
    return torch.from_numpy(np.hstack(blocks).astype(np.float64))


@pytest.mark.parametrize("kind", [GroupKernel, ResidualKernel])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 40))
def test_it_is_positive_semidefinite_with_any_groups_absent(
    kind: type[GroupedKernel], seed: int, n: int
) -> None:
    kernel = kind(GROUPS).double()
    x = rows(n, seed)
    with torch.no_grad():
        matrix = kernel(x).to_dense()
        assert torch.linalg.eigvalsh(matrix).min() > -1e-9 * n
        torch.testing.assert_close(matrix, matrix.T)
        torch.testing.assert_close(kernel(x, diag=True), matrix.diagonal(), rtol=1e-5, atol=1e-5)


def test_a_group_absent_from_both_rows_changes_nothing() -> None:
    kernel = GroupKernel(GROUPS).double()
    with torch.no_grad():
        x = torch.zeros(2, sum(group.width + 1 for group in GROUPS), dtype=torch.float64)
        before = kernel(x).to_dense()[0, 1]
        x[0, 7] = 1.0
        assert kernel(x).to_dense()[0, 1] < before


@pytest.mark.parametrize("kind", [GroupKernel, ResidualKernel])
def test_gradients_are_finite_where_rows_coincide(kind: type[GroupedKernel]) -> None:
    kernel = kind(GROUPS).double()
    x = rows(5, 0).repeat(2, 1)
    kernel(x).to_dense().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in kernel.parameters())


@pytest.mark.parametrize("width", [4, 12, 13, 90])
def test_wide_groups_share_one_length_scale(width: int) -> None:
    kernel = GroupKernel((Group("weights", width),))
    assert kernel.log_length_weights.numel() == (width if width <= 12 else 1)


def test_what_a_task_has_in_common_is_shared_and_the_rest_fades_with_the_distance_in_fidelity() -> None:
    kernel = ResidualKernel(GROUPS[:2]).double()
    with torch.no_grad():
        for name, value in (("scale_offset", 1.0), ("scale_fidelity", 2.0), ("scale_hyperparameters", 4.0)):
            getattr(kernel, f"log_{name}").fill_(np.log(value))
        x = torch.zeros(3, 8, dtype=torch.float64)
        x[:, 2] = x[:, 7] = 1.0
        x[1, 3], x[2, 0] = 1e6, 1e6
        expected = [[7.0, 3.0, 1.0], [3.0, 7.0, 1.0], [1.0, 1.0, 7.0]]
        torch.testing.assert_close(kernel(x).to_dense(), torch.tensor(expected).double(), atol=1e-5, rtol=0)
