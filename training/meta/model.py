"""What meta-training trains: the encoder, and the parameters of the process over its latent points.

n, q = rows of context and queries, D = columns of the inputs' groups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.surrogate.encoder import LATENT, Encoder
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.learned import Learned, Range
from fms_hub.surrogate.process import Form, Marginals, Process, factor, predict
from fms_hub.surrogate.scaling import Scaling

STANDARDISED = 20.0
"""Kernels begin at typical scales for standardised scores; those above chance vary about so much less."""
_LOG_TAU = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Losses:
    """Negative log densities of an episode, nats a row.

    Attributes:
        queries: given the context.
        context: marginal likelihood of the context.
        prior: of the queries, given nothing.
    """

    queries: Tensor
    context: Tensor
    prior: Tensor


class MetaModel(nn.Module):
    """An encoder and a process that are trained together, in float64.

    Args:
        groups: of the columns.
        width: of the encoder.
    """

    def __init__(self, groups: tuple[Group, ...], width: int = 64) -> None:
        super().__init__()
        self.groups = groups
        self.encoder = Encoder(groups, width=width).double()
        form = Form((*groups, Group(LATENT, self.encoder.latent, linear=True)), offset=True)
        nothing = torch.zeros(1, form.width, dtype=torch.float64)
        self.process = Process(nothing, nothing[:, 0], form)
        with torch.no_grad():
            for name, value in self.process.covar_module.named_parameters():
                if name.startswith(("log_scale", "log_linear")):
                    value.sub_(math.log(STANDARDISED))

    def believe(self, context: Tensor, scores: Tensor, queries: Tensor) -> Marginals:
        """Mean and variance of the scores of queries (q, D), given those (n,) of a context (n, D)."""
        x, mean = self._rows(torch.cat([context, queries]))
        n = len(context)
        found = predict(self.process, x[:n], scores - mean[:n], x[n:])
        return Marginals(mean[n:] + found.mean, found.variance)

    def losses(self, context: Tensor, scores: Tensor, queries: Tensor, answers: Tensor) -> Losses:
        """How surprising an episode is, in nats a row."""
        x, mean = self._rows(torch.cat([context, queries]))
        n = len(context)
        residual = scores - mean[:n]
        found = predict(self.process, x[:n], residual, x[n:])
        before = predict(self.process, x[:0], residual[:0], x[n:])
        return Losses(
            queries=_surprise(answers - mean[n:], found),
            context=self._marginal(x[:n], residual),
            prior=_surprise(answers - mean[n:], before),
        )

    def widen(self, factor: float) -> None:
        """Multiply all deviations by a factor; means stay what they are."""
        with torch.no_grad():
            for name, value in self.process.covar_module.named_parameters():
                if name.startswith(("log_scale", "log_linear")):
                    value.add_(2.0 * math.log(factor))
            self.process.likelihood.noise = self.process.likelihood.noise * factor**2

    def learned(self, hyperparameters: tuple[str, ...], scaling: Scaling, seen: Range) -> Learned:
        """A frozen copy of what was learned."""
        encoder = Encoder(self.groups, width=self.encoder.width, latent=self.encoder.latent).double().eval()
        encoder.load_state_dict({name: value.clone() for name, value in self.encoder.state_dict().items()})
        encoder.requires_grad_(False)
        parameters = self.process.parameters_by_name()
        return Learned(hyperparameters, scaling, self.groups, encoder, parameters, seen)

    def _rows(self, columns: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.encoder(columns)
        present = torch.ones(len(columns), 1, dtype=columns.dtype)
        return torch.cat([columns, encoded.latent, present], dim=1), encoded.mean

    def _marginal(self, x: Tensor, residual: Tensor) -> Tensor:
        if len(x) == 0:
            return torch.zeros((), dtype=x.dtype)
        root = factor(self.process, x)
        centred = (residual - self.process.mean_module.constant).unsqueeze(-1)
        white = torch.linalg.solve_triangular(root, centred, upper=False)
        surprise: Tensor = 0.5 * white.square().sum() + root.diagonal().log().sum()
        return surprise / len(x) + 0.5 * _LOG_TAU


def _surprise(residual: Tensor, believed: Marginals) -> Tensor:
    off = residual - believed.mean
    return 0.5 * (off.square() / believed.variance + believed.variance.log() + _LOG_TAU).mean()
