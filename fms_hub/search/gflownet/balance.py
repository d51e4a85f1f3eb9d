"""Training of a forward policy towards drawing configurations in proportion to their reward.

n = states, K = positions, M = width of the tree. The states are a tree, so that backward probabilities are 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.errors import UsageError
from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.policy import Policy, tensors

Objective = Literal["trajectory-balance", "flow-matching"]
"""What training makes zero.

    trajectory-balance  (log Z + log P(x) - log R(x))^2 of complete states x (Malkin et al. 2022)
    flow-matching       (log inflow - log outflow)^2 of every state on the way to x, the outflow of x itself
                        being R(x) (Bengio et al. 2021, without their epsilon)
"""

LogReward = Callable[[Actions], NDArray[np.float64]]
"""Logarithms of the rewards, (n,), of complete states (n, K)."""

_SPEED_OF_LOG_Z = 10.0
"""Learning rate of log Z over that of the network; Malkin et al. 2022 also let log Z learn faster."""


@dataclass(frozen=True)
class Effort:
    """How a policy is trained.

    A round draws states, asks for their rewards once, and takes steps on all states asked about so far:
    both objectives hold off the policy as well as on it.

    Attributes:
        objective: see `Objective`.
        rounds, draws, steps: rounds, states drawn in each, gradient steps in each; all >= 1.
        batch: states a step.
        learning_rate: of Adam at the first step; it falls linearly to 0.
        uniform: share of the draws that are uniform, in [0, 1].
        temperature: of the other draws, > 0.

    Raises:
        UsageError: one of them is out of its range.
    """

    objective: Objective = "trajectory-balance"
    rounds: int = 6
    draws: int = 256
    steps: int = 50
    batch: int = 96
    learning_rate: float = 1e-2
    uniform: float = 0.25
    temperature: float = 1.5

    def __post_init__(self) -> None:
        if self.objective not in get_args(Objective):
            known = ", ".join(get_args(Objective))
            raise UsageError(f"objective must be one of {known}; found {self.objective!r}.")
        for name in ("rounds", "draws", "steps", "batch", "learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, found {getattr(self, name)}.")
        if not 0.0 <= self.uniform <= 1.0:
            raise UsageError(f"uniform must be in [0, 1], found {self.uniform}.")


def train(policy: Policy, log_reward: LogReward, effort: Effort, seed: int) -> Policy:
    """Train a copy of a policy; the policy given stays as it is.

    Args:
        policy: where to start.
        log_reward: of complete states; finite.
        effort: how much.
        seed: of draws and batches.

    Raises:
        UsageError: a reward is not finite.
    """
    trained = policy.copied()
    generator = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(trained, effort)
    asked = _Asked(trained, log_reward)
    for number in range(effort.rounds):
        asked.add(
            trained.sample(effort.draws, generator, uniform=effort.uniform, temperature=effort.temperature)
        )
        if number == 0:
            asked.centre_log_z()
        for step in range(effort.steps):
            left = 1.0 - (number * effort.steps + step) / (effort.rounds * effort.steps)
            _step(optimizer, asked.loss(effort, generator), left)
    return trained


class _Asked:
    """States whose rewards are known."""

    def __init__(self, policy: Policy, log_reward: LogReward) -> None:
        self._policy, self._log_reward = policy, log_reward
        self._states = torch.empty(0, len(policy.tree), dtype=torch.int64)
        self._masks = torch.empty(0, len(policy.tree), policy.tree.width + 1, dtype=torch.bool)
        self._rewards = torch.empty(0)

    def add(self, drawn: Actions) -> None:
        rewards = self._log_reward(drawn)
        if not np.isfinite(rewards).all():
            raise UsageError("the logarithm of a reward must be finite, found one that is not.")
        states, masks = tensors(self._policy.tree, drawn)
        self._states = torch.cat([self._states, states])
        self._masks = torch.cat([self._masks, masks])
        self._rewards = torch.cat([self._rewards, torch.from_numpy(rewards).float()])

    @torch.no_grad()
    def centre_log_z(self) -> None:
        """Start from the log Z that balances best as long as the policy stays as it is."""
        log = self._policy.log_probabilities(self._states, self._masks)
        self._policy.log_z.copy_((self._rewards - log).mean(dim=0, keepdim=True))

    def loss(self, effort: Effort, generator: torch.Generator) -> Tensor:
        rows = torch.randint(len(self._states), (effort.batch,), generator=generator)
        states, masks, rewards = self._states[rows], self._masks[rows], self._rewards[rows]
        if effort.objective == "flow-matching":
            return _flow_matching(self._policy.logits(states, masks), states, rewards)
        imbalance = self._policy.log_z + self._policy.log_probabilities(states, masks) - rewards
        return imbalance.square().mean()


def _flow_matching(logits: Tensor, states: Tensor, rewards: Tensor) -> Tensor:
    """Mean imbalance, where logits (n, K, M + 1) are logarithms of the flows along edges."""
    into = logits.gather(-1, states.unsqueeze(-1)).squeeze(-1)
    out = torch.cat([logits.logsumexp(dim=-1)[:, 1:], rewards.unsqueeze(-1)], dim=1)
    return (into - out).square().sum(dim=1).mean()


def _optimizer(policy: Policy, effort: Effort) -> torch.optim.Adam:
    rate = effort.learning_rate
    network = [p for name, p in policy.named_parameters() if name != "log_z"]
    return torch.optim.Adam(
        [
            {"params": network, "lr": rate, "initial_lr": rate},
            {"params": [policy.log_z], "lr": rate, "initial_lr": _SPEED_OF_LOG_Z * rate},
        ]
    )


def _step(optimizer: torch.optim.Adam, loss: Tensor, left: float) -> None:
    """One step, at this share of the learning rates."""
    for group in optimizer.param_groups:
        group["lr"] = left * group["initial_lr"]
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
