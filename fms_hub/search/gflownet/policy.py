"""The forward policy: which action follows a partial configuration, with what probability.

n = states, K = positions, M = width of the tree, d = width of the network.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.tree import Tree

WIDTH = 64


class Policy(nn.Module):
    """A perceptron of two hidden layers over the one-hot actions of a partial configuration.

    Args:
        tree: of the states.
        seed: of the weights.
        width: d.

    Attributes:
        log_z: logarithm of the total reward, which trajectory balance finds, (1,).
    """

    offsets: Tensor

    def __init__(self, tree: Tree, seed: int, width: int = WIDTH) -> None:
        super().__init__()
        self.tree = tree
        generator = torch.Generator().manual_seed(seed)
        slots = tree.width + 1
        # A one-hot input times a matrix picks rows; states further on add to what those before them picked.
        self.chosen = nn.Parameter(torch.randn(len(tree) * slots, width, generator=generator) / 2)
        self.start = nn.Parameter(torch.zeros(width))
        self.hidden = nn.Parameter(torch.randn(width, width, generator=generator) * (2 / width) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.heads = nn.Parameter(torch.randn(len(tree), width, slots, generator=generator) / width**0.5)
        self.biases = nn.Parameter(torch.zeros(len(tree), 1, slots))
        self.log_z = nn.Parameter(torch.zeros(1))
        self.register_buffer("offsets", torch.arange(len(tree)) * slots)

    def logits(self, states: Tensor, masks: Tensor) -> Tensor:
        """Logits (n, K, M + 1) of every action on the way to complete states (n, K), -inf where masked."""
        picked = self.chosen[states + self.offsets]
        before = torch.cumsum(picked, dim=1) - picked
        logits = torch.einsum("nkd,kds->nks", self._features(before), self.heads) + self.biases.squeeze(1)
        return logits.masked_fill(~masks, -torch.inf)

    def log_probabilities(self, states: Tensor, masks: Tensor) -> Tensor:
        """Logarithm of the probability (n,) of drawing complete states (n, K)."""
        steps = self.logits(states, masks).log_softmax(dim=-1)
        return steps.gather(-1, states.unsqueeze(-1)).squeeze(-1).sum(dim=-1)

    @torch.no_grad()
    def following(self, position: int, states: Actions) -> Tensor:
        """Logarithm of the probability (n, M + 1) of each action after states (n, K) set up to a position."""
        rows = torch.from_numpy(states[:, :position]) + self.offsets[:position]
        logits = self._features(self.chosen[rows].sum(dim=1)) @ self.heads[position] + self.biases[position]
        allowed = torch.from_numpy(self.tree.allowed(position, states).copy())
        return logits.masked_fill(~allowed, -torch.inf).log_softmax(dim=-1)

    def sample(
        self, n: int, generator: torch.Generator, *, uniform: float = 0.0, temperature: float = 1.0
    ) -> Actions:
        """Draw complete states (n, K).

        Args:
            n: how many, >= 1.
            generator: of the draws.
            uniform: share of states, in [0, 1], that are drawn uniformly action by action.
            temperature: of the rest, > 0; 1 is the policy itself, more is flatter.
        """
        states = np.zeros((n, len(self.tree)), dtype=np.int64)
        flat = torch.rand(n, 1, generator=generator) < uniform
        for position in range(len(self.tree)):
            log = self.following(position, states)
            tempered = torch.where(flat, torch.where(log > -torch.inf, 0.0, log), log / temperature)
            drawn = torch.multinomial(tempered.softmax(dim=-1), 1, generator=generator)
            states[:, position] = drawn.squeeze(1).numpy()
        return states

    def copied(self) -> Policy:
        """Another policy with the same weights over the same tree."""
        other = Policy(self.tree, 0, len(self.start))
        other.load_state_dict(self.state_dict())
        return other

    def _features(self, before: Tensor) -> Tensor:
        first = torch.relu(before + self.start)
        return torch.relu(first @ self.hidden + self.bias)


def tensors(tree: Tree, states: Actions) -> tuple[Tensor, Tensor]:
    """Complete states (n, K) and their masks (n, K, M + 1) for a policy."""
    return torch.from_numpy(states), torch.from_numpy(tree.masks(states))
