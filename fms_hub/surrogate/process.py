"""The exact Gaussian process: its parameters, their fit, and its predictions.

n = observed rows, q = asked rows, D = columns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fms_hub.surrogate.gp import (
    GaussianLikelihood,
    LogNormalPrior,
    NanError,
    NotPSDError,
    NumericalWarning,
    gpytorch,
    psd_safe_cholesky,
)
from fms_hub.surrogate.kernel import LEARNED, TYPICAL, Group, GroupedKernel, GroupKernel
from fms_hub.surrogate.residual import ResidualKernel

KERNEL = "covar_module."
"""What the names of the kernel's parameters begin with."""
_RAW_NOISE = "likelihood.noise_covar.raw_noise"
_NOISE, _NOISE_CENTRE = 0.01, -5.0
_ABSURD = 1e6
"""Loss of parameters whose covariance has no Cholesky factor, nats a row; finite, for the line search."""
_BLOCK = 128
"""Rows of a covariance that are filled at a time."""
_TRIES = 5
"""Of a Cholesky factor; jitter grows from 1e-8 tenfold each time."""


@dataclass(frozen=True)
class Form:
    """What a process looks like.

    Attributes:
        groups: of its columns.
        residual: whether it models what a prior mean leaves over, see `ResidualKernel`, or whole scores.
        learned: parameters that meta-training found, by name, around which priors are centred; else None.
    """

    groups: tuple[Group, ...]
    residual: bool = False
    learned: Mapping[str, Tensor] | None = None

    @property
    def width(self) -> int:
        """D."""
        return sum(group.width + 1 for group in self.groups)


class Process(gpytorch.models.ExactGP):  # type: ignore[misc]
    """A constant plus a kernel over groups, with normal noise.

    Args:
        x: observed rows (n, D).
        y: what is modelled of their scores (n,).
        form: of the process.
    """

    def __init__(self, x: Tensor, y: Tensor, form: Form) -> None:
        learned = form.learned or {}
        kernel = {n.removeprefix(KERNEL): v for n, v in learned.items() if n.startswith(KERNEL)}
        likelihood = GaussianLikelihood()
        likelihood.noise = _NOISE
        if _RAW_NOISE in learned:
            with torch.no_grad():
                likelihood.noise_covar.raw_noise.copy_(learned[_RAW_NOISE])
        super().__init__(x, y, likelihood)
        self._noise = float(likelihood.noise.detach().log()) if learned else _NOISE_CENTRE
        self._spread = LEARNED if learned else TYPICAL
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = (ResidualKernel if form.residual else GroupKernel)(form.groups, kernel)
        self.double()
        self.set_parameters(learned)

    def set_parameters(self, parameters: Mapping[str, Tensor]) -> None:
        """Take these values; parameters that are not named stay as they are."""
        with torch.no_grad():
            for name, value in self.named_parameters():
                if name in parameters:
                    value.copy_(parameters[name])

    def add_priors(self) -> None:
        """Give every parameter its prior, for a fit."""
        prior = LogNormalPrior(self._noise, self._spread)
        self.likelihood.noise_covar.register_prior("noise_prior", prior, lambda module: module.noise)
        self.covar_module.add_priors()

    def parameters_by_name(self) -> dict[str, Tensor]:
        """Copies of all parameters."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def forward(self, x: Tensor) -> Any:
        """The prior over rows."""
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@dataclass(frozen=True)
class Marginals:
    """Mean and variance (q,) of one noisy observation at each row."""

    mean: Tensor
    variance: Tensor


def predict(process: Process, x: Tensor, y: Tensor, queries: Tensor) -> Marginals:
    """The posterior's marginals (Rasmussen & Williams 2006, alg. 2.1), differentiable; n may be 0.

    Only the marginals: gpytorch's own prediction forms the covariance of all rows with each other.
    """
    kernel, noise = process.covar_module, process.likelihood.noise
    constant = process.mean_module.constant
    prior = kernel(queries, diag=True)
    if len(x) == 0:
        return Marginals(constant.expand(len(queries)), prior + noise)
    root = factor(process, x)
    weights = torch.cholesky_solve((y - constant).unsqueeze(-1), root)
    cross = covariance(kernel, queries, x)
    explained = torch.linalg.solve_triangular(root, cross.mT, upper=False).square().sum(dim=0)
    return Marginals(constant + (cross @ weights).squeeze(-1), (prior - explained).clamp_min(0.0) + noise)


def covariance(kernel: GroupedKernel, a: Tensor, b: Tensor) -> Tensor:
    """Covariance (n, m) of rows a (n, D) and b (m, D); without gradients in blocks that fit the cache."""
    if torch.is_grad_enabled() or len(a) <= _BLOCK:
        dense: Tensor = kernel(a, b).to_dense()
        return dense
    filled = torch.empty(len(a), len(b), dtype=a.dtype)
    for start in range(0, len(a), _BLOCK):
        rows = slice(start, start + _BLOCK)
        filled[rows] = kernel(a[rows], b).to_dense()
    return filled


def factor(process: Process, x: Tensor) -> Tensor:
    """Cholesky factor of the covariance of noisy observations at x, (n, n)."""
    noise = process.likelihood.noise
    if torch.is_grad_enabled():
        return factor_of(process.covar_module(x).to_dense() + noise * torch.eye(len(x), dtype=x.dtype))
    noisy = lower(process.covar_module, x)
    noisy.diagonal().add_(noise)
    return factor_of(noisy)


def factor_of(matrix: Tensor) -> Tensor:
    """Cholesky factor of a covariance matrix (n, n), of which the lower triangle is enough.

    Raises:
        NotPSDError, NanError: it is none.
    """
    with _patient():
        root: Tensor = psd_safe_cholesky(matrix)
    return root


def lower(kernel: GroupedKernel, x: Tensor) -> Tensor:
    """The lower triangle of the covariance (n, n) of rows x (n, D), with something above it."""
    filled = torch.zeros(len(x), len(x), dtype=x.dtype)
    for start in range(0, len(x), _BLOCK):
        stop = start + _BLOCK
        filled[start:stop, :stop] = kernel(x[start:stop], x[:stop]).to_dense()
    return filled


def maximise_posterior(process: Process, steps: int) -> None:
    """Fit the parameters to the observed rows by L-BFGS on likelihood and priors, in place."""
    process.train()
    process.add_priors()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(process.likelihood, process)
    optimizer = torch.optim.LBFGS(
        process.parameters(), max_iter=steps, max_eval=2 * steps, line_search_fn="strong_wolfe"
    )
    x, y = process.train_inputs[0], process.train_targets

    def closure() -> Tensor:
        optimizer.zero_grad()
        try:
            loss: Tensor = -objective(process(x), y)
        except (NotPSDError, NanError):
            # A line search may try absurd parameters; told how bad they are, it turns back.
            return torch.tensor(_ABSURD, dtype=y.dtype)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with gpytorch.settings.fast_computations(False, False, False), _patient():
        optimizer.step(closure)  # type: ignore[no-untyped-call]


@contextmanager
def _patient() -> Iterator[None]:
    """Nearly singular matrices are expected, as runs share rows but for one epoch: jitter is added."""
    with (
        warnings.catch_warnings(action="ignore", category=NumericalWarning),
        gpytorch.settings.cholesky_max_tries(_TRIES),
    ):
        yield
