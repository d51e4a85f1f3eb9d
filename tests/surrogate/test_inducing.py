"""Predictions through inducing rows: those of the paper's formula, and exact where every row is one."""

import pytest
import torch

from fms_hub.surrogate.inducing import predict_through
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.process import Form, Process, predict


@pytest.fixture
def process() -> Process:
    generator = torch.Generator().manual_seed(0)
    rows = torch.rand(60, 3, dtype=torch.float64, generator=generator)
    x = torch.cat([rows, torch.ones(60, 1, dtype=torch.float64)], dim=1)
    return Process(x, torch.sin(5 * rows.sum(dim=1)), Form((Group("values", 3),)))


def asked() -> torch.Tensor:
    rows = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return torch.cat([rows, torch.ones(7, 1, dtype=torch.float64)], dim=1)


@torch.no_grad()
def test_it_is_exact_where_every_row_is_inducing(process: Process) -> None:
    x, y = process.train_inputs[0], process.train_targets
    exact, found = predict(process, x, y, asked()), predict_through(process, x, y, asked())
    torch.testing.assert_close(found.mean, exact.mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.variance, exact.variance, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_fewer_inducing_rows_give_what_the_formula_says(process: Process) -> None:
    x, y, queries = process.train_inputs[0], process.train_targets, asked()
    kernel, noise = process.covar_module, process.likelihood.noise
    points = x[torch.linspace(0, 59, 12).long()]
    between = kernel(points).to_dense()

    def explained(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = kernel(a, points).to_dense() @ between.inverse() @ kernel(points, b).to_dense()
        return found

    own = torch.diag((kernel(x).to_dense() - explained(x, x)).diagonal() + noise)
    gain = explained(queries, x) @ (explained(x, x) + own).inverse()
    constant = process.mean_module.constant
    variance = kernel(queries).to_dense() - gain @ explained(x, queries)
    found = predict_through(process, x, y, queries, 12)
    torch.testing.assert_close(found.mean, constant + gain @ (y - constant), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.variance, variance.diagonal() + noise, rtol=1e-4, atol=1e-5)
