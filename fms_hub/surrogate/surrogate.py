"""The surrogate: an exact Gaussian process over input groups; see `fms_hub.surrogate.kernel`.

A Surrogate never changes: `fit` and `condition` return new ones.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fms_hub.errors import CheckpointError
from fms_hub.surrogate.gp import (
    GaussianLikelihood,
    LogNormalPrior,
    NumericalWarning,
    gpytorch,
    psd_safe_cholesky,
)
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.kernel import Group, GroupKernel
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.scaling import Scaling

FORMAT_VERSION = 1
FIT_STEPS = 30
"""Most L-BFGS steps of a fit."""


class _Process(gpytorch.models.ExactGP):  # type: ignore[misc]
    def __init__(self, x: Tensor, y: Tensor, groups: tuple[Group, ...]) -> None:
        likelihood = GaussianLikelihood(noise_prior=LogNormalPrior(-5.0, 1.0))
        likelihood.noise = 0.01
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = GroupKernel(groups)
        self.double()

    def forward(self, x: Tensor) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


@dataclass(frozen=True)
class _Data:
    """What the process is conditioned on: columns (n, D), standardised scores (n,), and their units."""

    x: Tensor
    y: Tensor
    centre: float
    spread: float


@dataclass(frozen=True)
class Surrogate:
    """A Gaussian process with its hyperparameters, input scaling and observations.

    Attributes:
        name: says in logs and reports which surrogate it is.
        parameters: of kernel, mean and likelihood, by name; None before the first fit, which means
            the priors' centres.
        scaling: of the inputs; None before the first fit.
    """

    name: str = "scratch"
    parameters: dict[str, Tensor] | None = None
    scaling: Scaling | None = None
    groups: tuple[Group, ...] = ()
    data: _Data | None = None

    def fit(self, inputs: Inputs, scores: NDArray[np.float64], *, steps: int = FIT_STEPS) -> Surrogate:
        """Find the kernel's parameters by maximum a posteriori (L-BFGS), then condition on the data.

        Args:
            inputs: n rows, n >= 2.
            scores: (n,), finite.
            steps: most L-BFGS steps.

        Returns:
            A new surrogate; this one stays as it is. Equal inputs give equal results.
        """
        scaling = Scaling.of(inputs)
        groups = scaling.groups(inputs)
        start = replace(self, scaling=scaling, groups=groups)
        prepared = start._prepare(inputs, scores)
        process = start._process(prepared)
        _maximise_posterior(process, steps)
        parameters = {name: value.detach().clone() for name, value in process.named_parameters()}
        return replace(start, parameters=parameters, data=prepared)

    def condition(self, inputs: Inputs, scores: NDArray[np.float64]) -> Surrogate:
        """Replace the observations, n >= 1, keeping the kernel's parameters and the scaling."""
        start = self
        if start.scaling is None:
            scaling = Scaling.of(inputs)
            start = replace(start, scaling=scaling, groups=scaling.groups(inputs))
        return replace(start, data=start._prepare(inputs, scores))

    def posterior(self, inputs: Inputs) -> Posterior:
        """Predict the scores of n rows, the noise of one observation included in the deviation.

        Raises:
            ValueError: the surrogate has not been conditioned on any observation.
        """
        if self.data is None or self.scaling is None:
            raise ValueError("condition the surrogate on at least one observation before predicting")
        mean, variance = _predict(self._process(self.data), self.data, self.scaling.columns(inputs))
        return Posterior(
            mean=self.data.centre + self.data.spread * mean.numpy(),
            std=self.data.spread * variance.sqrt().numpy(),
        )

    def _prepare(self, inputs: Inputs, scores: NDArray[np.float64]) -> _Data:
        assert self.scaling is not None
        spread = float(scores.std())
        # One score, or equal ones, say nothing of the spread; accuracies differ by tenths.
        spread = spread if spread > 1e-3 else 0.1
        centre = float(scores.mean())
        return _Data(
            self.scaling.columns(inputs), torch.from_numpy((scores - centre) / spread), centre, spread
        )

    def _process(self, data: _Data) -> _Process:
        process = _Process(data.x, data.y, self.groups)
        if self.parameters is not None:
            with torch.no_grad():
                for name, value in process.named_parameters():
                    value.copy_(self.parameters[name])
        return process

    def save(self, path: Path) -> None:
        """Write one safetensors file; its header carries format version, name and groups as JSON.

        Raises:
            ValueError: the surrogate has never been fitted.
        """
        if self.parameters is None or self.scaling is None or self.data is None:
            raise ValueError("only a fitted surrogate can be saved")
        tensors = {f"parameters.{name}": value for name, value in self.parameters.items()}
        tensors |= {
            f"scaling.{name}": torch.from_numpy(value) for name, value in asdict(self.scaling).items()
        }
        units = torch.tensor([self.data.centre, self.data.spread], dtype=torch.float64)
        tensors |= {"data.x": self.data.x, "data.y": self.data.y, "data.units": units}
        config = {
            "format_version": FORMAT_VERSION,
            "name": self.name,
            "groups": [asdict(g) for g in self.groups],
        }
        partial = path.with_name(path.name + ".partial")
        save_file({k: v.contiguous() for k, v in tensors.items()}, partial, {"config": json.dumps(config)})
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> Surrogate:
        """Read what `save` wrote, strictly.

        Raises:
            CheckpointError: absent, damaged, of another format version, or with a missing, extra,
                misshaped or non-finite tensor.
        """
        config, tensors = _read(path)
        groups = tuple(Group(**group) for group in config["groups"])
        _check(path, tensors, _expected(groups))
        scaling = Scaling(**{f.name: tensors[f"scaling.{f.name}"].numpy() for f in fields(Scaling)})
        units = tensors["data.units"].tolist()
        return cls(
            name=config["name"],
            parameters={
                k.removeprefix("parameters."): v for k, v in tensors.items() if k.startswith("parameters.")
            },
            scaling=scaling,
            groups=groups,
            data=_Data(tensors["data.x"], tensors["data.y"], *units),
        )


def _predict(process: _Process, data: _Data, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of one noisy observation at each row of x (Rasmussen & Williams 2006, alg. 2.1).

    Only the marginals: gpytorch's own prediction forms the covariance of all rows with each other.
    """
    with torch.no_grad(), _quiet():
        kernel, noise = process.covar_module, process.likelihood.noise
        constant = process.mean_module.constant
        observed = kernel(data.x).to_dense() + noise * torch.eye(len(data.x), dtype=torch.float64)
        root = psd_safe_cholesky(observed)
        weights = torch.cholesky_solve((data.y - constant).unsqueeze(-1), root)
        cross = kernel(x, data.x).to_dense()
        explained = torch.linalg.solve_triangular(root, cross.mT, upper=False).square().sum(dim=0)
        left = (kernel(x, diag=True) - explained).clamp_min(0.0)
        return constant + (cross @ weights).squeeze(-1), left + noise


def _maximise_posterior(process: _Process, steps: int) -> None:
    process.train()
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(process.likelihood, process)
    optimizer = torch.optim.LBFGS(
        process.parameters(), max_iter=steps, max_eval=2 * steps, line_search_fn="strong_wolfe"
    )
    x, y = process.train_inputs[0], process.train_targets

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss: Tensor = -objective(process(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with gpytorch.settings.fast_computations(False, False, False), _quiet():
        optimizer.step(closure)  # type: ignore[no-untyped-call]


def _quiet() -> warnings.catch_warnings:
    """Jitter added to a nearly singular matrix is expected: runs share rows but for one epoch."""
    return warnings.catch_warnings(action="ignore", category=NumericalWarning)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads((file.metadata() or {}).get("config", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} is not a surrogate: {error}. Give a file written by Surrogate.save."
        ) from error
    found = config.get("format_version")
    if found != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has surrogate format version {found}, this release reads {FORMAT_VERSION}; "
            "get a surrogate made for it, or another release of fms_hub."
        )
    return config, tensors


def _expected(groups: tuple[Group, ...]) -> dict[str, tuple[int | None, ...]]:
    """Shape by tensor name; None where any length will do."""
    columns = sum(group.width + 1 for group in groups)
    widths = {group.name: group.width for group in groups}
    blank = _Process(
        torch.zeros(1, columns, dtype=torch.float64), torch.zeros(1, dtype=torch.float64), groups
    )
    shapes: dict[str, tuple[int | None, ...]] = {
        f"parameters.{name}": tuple(value.shape) for name, value in blank.named_parameters()
    }
    for field in fields(Scaling):
        shapes[f"scaling.{field.name}"] = (widths[field.name.split("_")[0]],)
    return shapes | {"data.x": (None, columns), "data.y": (None,), "data.units": (2,)}


def _check(path: Path, tensors: dict[str, Tensor], expected: dict[str, tuple[int | None, ...]]) -> None:
    for name in sorted(set(expected) ^ set(tensors)):
        raise CheckpointError(
            f"{path}: tensor {name} is {'missing' if name in expected else 'not expected'}."
        )
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        if len(found) != len(shape) or any(e not in (None, f) for e, f in zip(shape, found, strict=True)):
            raise CheckpointError(f"{path}: tensor {name} has shape {found}, expected {shape}.")
        if tensors[name].dtype != torch.float64:
            raise CheckpointError(f"{path}: tensor {name} is {tensors[name].dtype}, expected float64.")
        if not bool(tensors[name].isfinite().all()):
            raise CheckpointError(f"{path}: tensor {name} holds NaN or infinite values.")
