"""The weights of networks of one architecture, layer by layer.

n = networks, O and I = neurons of a layer and of the one before, T = taps of a kernel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LARGEST = 10.0
"""Weights of diverged networks are cut off here."""


@dataclass(frozen=True)
class Stack:
    """The weights of n networks.

    Attributes:
        weights: per layer (n, O, I, T).
        biases: per layer (n, O).
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @classmethod
    def of(cls, states: Sequence[Mapping[str, NDArray[Any]]]) -> Stack:
        """Of networks that are chains of layers, each with a weight and a bias.

        Args:
            states: at least one; tensors by name, the layers' names in the order of the data.
        """
        layers = sorted({name.rpartition(".")[0] for name in states[0]})
        weights = [_stacked(states, f"{layer}.weight") for layer in layers]
        return cls(
            tuple(w.flatten(3) if w.dim() > 3 else w[..., None] for w in weights),
            tuple(_stacked(states, f"{layer}.bias") for layer in layers),
        )

    def rows(self, index: Tensor) -> Stack:
        """Some of the networks."""
        return Stack(tuple(w[index] for w in self.weights), tuple(b[index] for b in self.biases))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Neurons per layer, the input's first: one more number than there are layers."""
        return (self.weights[0].shape[2], *(w.shape[1] for w in self.weights))

    @property
    def taps(self) -> tuple[int, ...]:
        """T per layer."""
        return tuple(w.shape[3] for w in self.weights)


def _stacked(states: Sequence[Mapping[str, NDArray[Any]]], name: str) -> Tensor:
    found = np.stack([state[name].astype(np.float32) for state in states])
    return torch.from_numpy(np.clip(found, -_LARGEST, _LARGEST))
