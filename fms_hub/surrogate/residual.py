"""The kernel of what a meta-trained prior mean leaves over: shifts of a whole task, and of configurations.

    k(x, x') = s_o + s_f M(d_f / l_f) + M(d_f / r_f) sum_g s_g m_g m'_g M(d_g / l_g)

d_f is the distance in fidelity: the epoch asked about, the images seen by then, and how much of the run is
known already. The first two terms are what all scores of a task have in common, at any fidelity and at like
ones; the groups g (hyperparameters, weights, candidate) say which configurations are better or worse than
foreseen, the more so the nearer the fidelities. m_g says whether a row has the group.

This product beat the sum of `fms_hub.surrogate.kernel` on tasks that meta-training had not seen: see
training/LOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fms_hub.surrogate.gp import to_linear_operator
from fms_hub.surrogate.kernel import Group, GroupedKernel, matern, typical_lengths

FIDELITY = "fidelity"
"""The group that all others are multiplied with; it is present in every row."""
_SHARE = 0.2
"""Typical variance of each term, in units of the squared deviation that is foreseen."""


class ResidualKernel(GroupedKernel):
    """As above; one of the groups is `FIDELITY`."""

    def __init__(self, groups: tuple[Group, ...], centres: Mapping[str, Tensor] | None = None) -> None:
        super().__init__(groups, centres)
        self.positive("scale_offset", torch.tensor([_SHARE]))
        for group in groups:
            self.positive(f"scale_{group.name}", torch.tensor([_SHARE]))
            self.positive(f"length_{group.name}", _lengths(group))
            if group.name == FIDELITY:
                self.positive("reach", _lengths(group))

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Any:
        """Covariance, (..., n, m), or its diagonal, (..., n), where ``diag``."""
        if diag:
            return self._diagonal(x1)
        shared = self.value("scale_offset")
        own = torch.zeros((), dtype=x1.dtype)
        reach = torch.ones((), dtype=x1.dtype)
        for group, a, b in zip(self.groups, self.split(x1), self.split(x2), strict=True):
            scale, length = self.value(f"scale_{group.name}"), self.value(f"length_{group.name}")
            term = matern(self.squared(group, a[..., :-1], b[..., :-1], length))
            if group.name == FIDELITY:
                shared = torch.addcmul(shared, term, scale)
                reach = matern(self.squared(group, a[..., :-1], b[..., :-1], self.value("reach")))
            else:
                own = torch.addcmul(own, term, scale * a[..., -1:] * b[..., -1:].mT)
        return to_linear_operator(torch.addcmul(shared, reach, own))

    def _diagonal(self, x: Tensor) -> Tensor:
        total = self.value("scale_offset").expand(x.shape[:-1])
        for group, a in zip(self.groups, self.split(x), strict=True):
            total = total + self.value(f"scale_{group.name}") * a[..., -1]
        return total


def _lengths(group: Group) -> Tensor:
    return torch.ones(1) if group.categorical else typical_lengths(group.width)
