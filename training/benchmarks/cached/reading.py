"""DyHPO's kernel with eyes for weights: of each row it sees the newest checkpoint before the row's epoch.

This is Forecasting Model Search (Mehta et al. 2024) as its paper compares it, fitted to one search: the graph
metanetwork (FMS-GMN), the neural functional network (FMS-NFN) and flattened weights (FMS-FLAT) differ in the
encoder alone. m = checkpoints, n = rows, F = features of a configuration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fms_hub.errors import UsageError
from training.benchmarks.cached.dyhpo import DeepKernel
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.pool import Weights
from training.worth.flat import Flat
from training.worth.functional import Functional
from training.worth.metanetwork import Metanetwork
from training.worth.stack import Stack

OUTPUTS = 32
"""Of an encoder."""
Encoder = Callable[[Stack], nn.Module]
"""Makes one for networks like those given."""


def flat(like: Stack) -> nn.Module:
    """Of flattened weights."""
    return Flat(sum(t[0].numel() for t in (*like.weights, *like.biases)), OUTPUTS)


def functional(like: Stack) -> nn.Module:
    """Permutation equivariant maps between weights."""
    return Functional(like.taps, OUTPUTS)


def metanetwork(like: Stack) -> nn.Module:
    """Messages between neurons, an edge for every scalar weight."""
    return Metanetwork(like.taps, OUTPUTS)


@dataclass(frozen=True)
class Checkpoints:
    """The weights that a search has paid for.

    Attributes:
        stack: of m networks; each tensor in units of its root mean square over them.
        numbers: their places in the stack, by (run, epoch).
    """

    stack: Stack
    numbers: Mapping[tuple[int, int], int]

    @classmethod
    def of(cls, environment: Environment) -> Checkpoints:
        """All that were kept.

        Raises:
            UsageError: none were, up to where the search is.
        """
        states: list[Weights] = []
        numbers: dict[tuple[int, int], int] = {}
        for run in range(len(environment.configurations)):
            for epoch in range(1, environment.reached(run) + 1):
                state = environment.weights(run, epoch)
                if state is not None:
                    numbers[run, epoch] = len(states)
                    states.append(state)
        if not states:
            raise UsageError("no weights were kept of what the search has trained; read another pool.")
        stack = Stack.of(states)
        return cls(Stack(tuple(map(_scaled, stack.weights)), tuple(map(_scaled, stack.biases))), numbers)

    def beside(self, x: Tensor, runs: NDArray[np.int64], epochs: NDArray[np.int64]) -> Tensor:
        """Rows (n, F + 1) with the number of their run's newest checkpoint before their epoch, -1 for none.

        Args:
            x: rows.
            runs, epochs: of the rows, (n,).
        """
        numbers = [
            next((self.numbers[run, e] for e in range(epoch - 1, 0, -1) if (run, e) in self.numbers), -1)
            for run, epoch in zip(runs.tolist(), epochs.tolist(), strict=True)
        ]
        return torch.cat([x, torch.tensor(numbers, dtype=x.dtype)[:, None]], 1)


def _scaled(tensor: Tensor) -> Tensor:
    found: Tensor = tensor / tensor.square().mean().sqrt().clamp_min(1e-6)
    return found


class ReadingKernel(DeepKernel):
    """`DeepKernel` over rows whose last column is the number of a checkpoint, -1 for none.

    Args:
        features: F.
        checkpoints: of the search.
        encoder: makes what reads them.
    """

    def __init__(self, features: int, checkpoints: Checkpoints, encoder: Encoder) -> None:
        super().__init__(features, more=OUTPUTS)
        self.nothing = nn.Parameter(torch.zeros(1, OUTPUTS))
        self.double()
        self.stack = checkpoints.stack
        self.encoder = encoder(checkpoints.stack)  # in single precision, which is twice as fast

    def read(self, x: Tensor) -> list[Tensor]:
        """Configurations with budgets through the dense layer, and what is read of the weights."""
        # Encoding is nearly all of a fit's time, and many checkpoints are older than all that rows ask for.
        used, place = x[:, -1].long().unique(return_inverse=True)  # type: ignore[no-untyped-call]
        there = used >= 0
        embedded = self.nothing.expand(len(used), -1)
        if there.any():
            encoded = self.encoder(self.stack.rows(used[there])).double()
            embedded = torch.cat([embedded[~there], encoded])  # -1 comes first
        return [*super().read(x[:, :-1]), embedded[place]]
