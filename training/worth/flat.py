"""Weights read as one long vector: what a network that knows no symmetry makes of them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.worth.stack import Stack


class Flat(nn.Module):
    """From all weights end to end to an embedding; the order of neurons matters.

    Args:
        numbers: of weights and biases of a network.
        outputs: width of the embedding.
        width: of the hidden layer.
    """

    def __init__(self, numbers: int, outputs: int, *, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(numbers, width), nn.LeakyReLU(), nn.Linear(width, outputs))

    def forward(self, stack: Stack) -> Tensor:
        """Embed n networks: (n, outputs)."""
        embedding: Tensor = self.layers(torch.cat([t.flatten(1) for t in (*stack.weights, *stack.biases)], 1))
        return embedding
