"""The kernel of a surrogate that learns from one search: Matern-5/2 per group, one over all, and lines.

    k(x, x') = sum_g s_g m_g m'_g M(d_g) + s_j M(sqrt(sum_g m_g m'_g d_g^2 / l_g^2)) + sum_l t_l f_l . f'_l

d_g is the distance within group g (ARD where a group has at most 12 inputs, one length scale over
the root-mean-square distance where it has more), m_g says whether a row has the group at all, and f_l
are the inputs of the linear groups. A group that is absent from both rows of a pair adds nothing. The joint
term works on zero-filled inputs, so that it stays positive definite with absent groups, with the presence
bits as further coordinates.

Sums of per-group kernels beat one deep kernel over everything when fitted to a single search; see
training/LOG.md. Where meta-training stands behind, `fms_hub.surrogate.residual` has the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fms_hub.surrogate.gp import Kernel, LogNormalPrior, to_linear_operator

ARD_UP_TO = 12
TYPICAL, LEARNED = 1.0, 0.3
"""Spreads of the priors, in logarithms: around typical values, and around what meta-training found."""


@dataclass(frozen=True)
class Group:
    """A block of columns: ``width`` values, then one presence bit.

    Attributes:
        name: of the group, as in `fms_hub.surrogate.inputs.Inputs`.
        width: number of values, >= 1.
        categorical: values are labels; their distance is 0 or 1.
        linear: the group also enters a linear term.
    """

    name: str
    width: int
    categorical: bool = False
    linear: bool = False


class GroupedKernel(Kernel):  # type: ignore[misc]
    """What kernels over groups share: positive parameters with priors, and distances within a group.

    Args:
        groups: of the inputs (..., n, D), D = sum of (width + 1) over the groups.
        centres: of the parameters' log-normal priors, by parameter name, as logarithms; where a parameter
            has none, a typical value.
    """

    def __init__(self, groups: tuple[Group, ...], centres: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.groups = groups
        self._centres = dict(centres or {})
        self._typical: dict[str, Tensor] = {}

    def positive(self, name: str, typical: Tensor) -> None:
        """Add a positive parameter, kept as its logarithm, that starts at its prior's centre."""
        log = f"log_{name}"
        self._typical[log] = typical.double().log()
        self.register_parameter(log, torch.nn.Parameter(self._centres.get(log, self._typical[log]).clone()))

    def add_priors(self) -> None:
        """Give every parameter its log-normal prior: a fit needs them, and they take a while to make."""
        for log, typical in self._typical.items():
            centre = self._centres.get(log, typical)
            spread = LEARNED if log in self._centres else TYPICAL
            prior = LogNormalPrior(centre.clone(), torch.full_like(centre, spread))
            self.register_prior(f"{log}_prior", prior, lambda module, log=log: getattr(module, log).exp())

    def value(self, name: str) -> Tensor:
        """Of a positive parameter."""
        value: Tensor = getattr(self, f"log_{name}")
        return value.exp()

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The groups' columns, presence bits last."""
        return torch.split(x, [group.width + 1 for group in self.groups], dim=-1)

    def squared(self, group: Group, a: Tensor, b: Tensor, length: Tensor) -> Tensor:
        """Squared scaled distances (..., n, m) between values (..., n, width) and (..., m, width)."""
        if group.categorical:
            return (a != b.mT).to(a.dtype) / length.square()
        shrink = length if group.width <= ARD_UP_TO else length * math.sqrt(group.width)
        return _squared_distance(a / shrink, b / shrink)


class GroupKernel(GroupedKernel):
    """Sum over groups, as above."""

    def __init__(self, groups: tuple[Group, ...], centres: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(groups, centres)
        for group in groups:
            if not group.categorical:
                self.positive(f"length_{group.name}", typical_lengths(group.width))
            self.positive(f"joint_{group.name}", torch.tensor([2.0]))
            self.positive(f"scale_{group.name}", torch.tensor([0.2]))
            if group.linear:
                self.positive(f"linear_{group.name}", torch.tensor([0.5]))
        self.positive("scale_joint", torch.tensor([0.5]))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Any:
        """Covariance, (..., n, m), or its diagonal, (..., n), where ``diag``."""
        if diag:
            return self._diagonal(x1)
        total = torch.zeros((), dtype=x1.dtype)
        joint = torch.zeros((), dtype=x1.dtype)
        for group, a, b in zip(self.groups, self.split(x1), self.split(x2), strict=True):
            present = a[..., -1:] * b[..., -1:].mT
            squared = self.squared(group, a[..., :-1], b[..., :-1], self._length(group, x1.dtype))
            total = total + self.value(f"scale_{group.name}") * present * matern(squared)
            differs = a[..., -1:] + b[..., -1:].mT - 2 * present
            joint = joint + (squared + differs) / self.value(f"joint_{group.name}").square()
            if group.linear:
                total = total + self.value(f"linear_{group.name}") * (a[..., :-1] @ b[..., :-1].mT)
        return to_linear_operator(total + self.value("scale_joint") * matern(joint))

    def _diagonal(self, x: Tensor) -> Tensor:
        total = self.value("scale_joint").expand(x.shape[:-1])
        for group, a in zip(self.groups, self.split(x), strict=True):
            total = total + self.value(f"scale_{group.name}") * a[..., -1]
            if group.linear:
                total = total + self.value(f"linear_{group.name}") * a[..., :-1].square().sum(-1)
        return total

    def _length(self, group: Group, dtype: torch.dtype) -> Tensor:
        return torch.ones(1, dtype=dtype) if group.categorical else self.value(f"length_{group.name}")


def _squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances, (..., n, m), by the expansion, centred against cancellation.

    |a|^2 - 2ab + |b|^2 is one product of longer rows, as every pass over n times m numbers costs as much.
    """
    centre = b.mean(dim=-2, keepdim=True)
    a, b = a - centre, b - centre
    one_a, one_b = torch.ones_like(a[..., :1]), torch.ones_like(b[..., :1])
    left = torch.cat([-2.0 * a, a.square().sum(-1, keepdim=True), one_a], dim=-1)
    right = torch.cat([b, one_b, b.square().sum(-1, keepdim=True)], dim=-1)
    return (left @ right.mT).clamp_min_(0.0)


def matern(squared: Tensor) -> Tensor:
    """Matern-5/2 of a squared scaled distance; 1e-12 keeps the root's gradient finite at zero.

    Few passes, and in place where it can be: most of its time is memory.
    """
    distance = (5.0 * squared).add_(1e-12).sqrt_()
    decay = (-distance).exp_()
    return torch.add(distance, squared, alpha=5.0 / 3.0).add_(1.0).mul_(decay)


def typical_lengths(width: int) -> Tensor:
    """Length scales that keep correlations alike as inputs are added: of order sqrt(width).

    Hvarfner et al. 2024, "Vanilla Bayesian optimization performs great in high dimensions". Wide
    groups have one scale over the root-mean-square distance instead, whose order is 1.
    """
    if width > ARD_UP_TO:
        return torch.ones(1)
    return torch.full((width,), 0.5 * math.sqrt(width))
