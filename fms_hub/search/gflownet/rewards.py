"""From utilities to rewards: what a policy's probabilities are proportional to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.search.gflownet.balance import Effort, LogReward, train
from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.proposals import Configuration

BETA = 4.0
"""Where the best tenth begins, a configuration is exp(BETA), about 55 times, as probable as at the median."""
REFERENCE = 256
"""Uniform draws that utilities are scaled by."""
_TOP = 0.9
_LOWEST, _HIGHEST = -3.0, 6.0

Utility = Callable[[Sequence[Configuration]], NDArray[np.float64]]
"""What configurations are worth, (n,), in any unit; higher is better."""


@dataclass(frozen=True)
class Scale:
    """Utilities become 0 at the median of uniform draws and 1 where their best tenth begins.

    Logarithms of acquisitions fall without end where nothing is promised: values stop at -3 and 6.

    Attributes:
        centre, unit: of utilities; ``unit`` > 0.
    """

    centre: float
    unit: float

    @classmethod
    def of(cls, utilities: NDArray[np.float64]) -> Scale:
        """From the utilities (n,) of uniform draws, n >= 1."""
        centre, top, best = (float(q) for q in np.quantile(utilities, [0.5, _TOP, 1.0]))
        # Where most draws are worth the same, the best is the unit; where all are, any unit will do.
        return cls(centre, (top - centre) or (best - centre) or 1.0)

    def __call__(self, utilities: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scaled utilities, (n,), in [-3, 6]."""
        return np.clip((utilities - self.centre) / self.unit, _LOWEST, _HIGHEST)


def learn(policy: Policy, utility: Utility, effort: Effort, seed: int, beta: float = BETA) -> Policy:
    """Train a copy of a policy towards rewards exp(beta u), u the scaled utility.

    A bin's reward is that of values drawn from within it, new ones each time that it is asked about.

    Args:
        policy: where to start.
        utility: of configurations; finite.
        effort: how much.
        seed: of all draws.
        beta: how much better configurations are preferred, > 0.

    Raises:
        UsageError: ``beta`` is not above 0, or a utility is not finite.
    """
    if not 0.0 < beta < np.inf:
        raise UsageError(f"beta must be a finite number above 0, found {beta}; more is greedier.")
    return train(policy, log_reward(policy, utility, seed, beta), effort, seed)


def log_reward(policy: Policy, utility: Utility, seed: int, beta: float) -> LogReward:
    """The logarithm of the reward of complete states, scaled by uniform draws over the policy's tree."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def asked(states: Actions) -> NDArray[np.float64]:
        return utility(policy.tree.configurations(states, rng))

    scale = Scale.of(asked(policy.sample(REFERENCE, generator, uniform=1.0)))
    return lambda states: beta * scale(asked(states))
