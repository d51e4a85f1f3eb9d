"""The exact distribution of a policy over complete states, where they can be enumerated.

n = complete states, K = positions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.tree import Tree


@dataclass(frozen=True)
class Terminals:
    """Complete states (n, K) and the probability (n,) of drawing each."""

    states: Actions
    probabilities: NDArray[np.float64]


def terminals(policy: Policy) -> Terminals:
    """Probabilities of all complete states, position by position from the empty state on."""
    states = np.zeros((1, len(policy.tree)), dtype=np.int64)
    log = np.zeros(1)
    for position in range(len(policy.tree)):
        following = policy.following(position, states).double().numpy()
        rows, actions = np.nonzero(np.isfinite(following))
        states, log = states[rows], log[rows] + following[rows, actions]
        states[:, position] = actions
    return Terminals(states, np.exp(log))


def complete_states(tree: Tree) -> Actions:
    """All complete states (n, K)."""
    return terminals(Policy(tree, 0)).states


def normalised(log_rewards: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rewards (n,) divided by their sum, from their logarithms."""
    rewards: NDArray[np.float64] = np.exp(log_rewards - log_rewards.max())
    shares: NDArray[np.float64] = rewards / rewards.sum()
    return shares


def total_variation(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Half the sum of absolute differences of two distributions (n,), in [0, 1]."""
    return float(0.5 * np.abs(p - q).sum())
