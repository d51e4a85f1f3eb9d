"""A neural functional network: linear maps between weights that do not care how neurons are numbered.

Source: A. Zhou et al., "Permutation Equivariant Neural Functionals" (2023), the form that takes the neurons
of all layers for interchangeable (NP), with means in place of sums.

n = networks of one architecture, O and I = neurons of a layer and of the one before, d = width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.worth.stack import Stack


@dataclass(frozen=True)
class _Features:
    """Of every weight and bias: per layer (n, O, I, d) and (n, O, d)."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def means(self) -> Tensor:
        """Over the entries of every tensor, (n, 2 layers d)."""
        found = [w.mean((1, 2)) for w in self.weights] + [b.mean(1) for b in self.biases]
        return torch.cat(found, -1)


class Equivariant(nn.Module):
    """The linear map: each entry hears itself, the neurons at its ends, and the means of all layers.

    Args:
        layers: of the networks.
        width: d.
    """

    def __init__(self, layers: int, width: int) -> None:
        super().__init__()
        self.entry = nn.ModuleList([nn.Linear(width, width) for _ in range(layers)])
        self.target = nn.ModuleList([nn.Linear(3 * width, width, bias=False) for _ in range(layers)])
        self.origin = nn.ModuleList([nn.Linear(3 * width, width, bias=False) for _ in range(layers)])
        self.bias = nn.ModuleList([nn.Linear(3 * width, width) for _ in range(layers)])
        self.all = nn.Linear(2 * layers * width, 2 * layers * width, bias=False)

    def forward(self, given: _Features) -> _Features:
        """New features of the same shapes."""
        layers, neurons = len(given.weights), _neurons(given)
        everywhere = self.all(given.means()).chunk(2 * layers, -1)
        weights = [
            self.entry[i](w)
            + self.target[i](neurons[i + 1])[:, :, None]
            + self.origin[i](neurons[i])[:, None]
            + everywhere[i][:, None, None]
            for i, w in enumerate(given.weights)
        ]
        biases = [self.bias[i](neurons[i + 1]) + everywhere[layers + i][:, None] for i in range(layers)]
        return _Features(tuple(weights), tuple(biases))


def _neurons(given: _Features) -> list[Tensor]:
    """Of each layer's neurons, the input's first: means of weights into and out of each, and its bias,
    (n, neurons, 3 d); 0 of what there is not."""
    into = [w.mean(2) for w in given.weights]
    out = [w.mean(1) for w in given.weights]
    into, biases = [torch.zeros_like(out[0]), *into], [torch.zeros_like(out[0]), *given.biases]
    out = [*out, torch.zeros_like(into[-1])]
    return [torch.cat(parts, -1) for parts in zip(into, out, biases, strict=True)]


class Functional(nn.Module):
    """From weights to an embedding that does not depend on the order of neurons.

    Args:
        taps: T per layer.
        outputs: width of the embedding.
        width: d.
        rounds: of `Equivariant`, each with what it heard added to what was there.
    """

    def __init__(self, taps: Sequence[int], outputs: int, *, width: int = 16, rounds: int = 3) -> None:
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(t, width) for t in taps])
        self.biases = nn.ModuleList([nn.Linear(1, width) for _ in taps])
        self.rounds = nn.ModuleList([Equivariant(len(taps), width) for _ in range(rounds)])
        pooled = 2 * len(taps) * width
        self.head = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, outputs))

    def forward(self, stack: Stack) -> Tensor:
        """Embed n networks: (n, outputs)."""
        features = _Features(
            tuple(map(_apply, self.weights, stack.weights)),
            tuple(layer(b[..., None]) for layer, b in zip(self.biases, stack.biases, strict=True)),
        )
        for round_ in self.rounds:
            heard = round_(features)
            features = _Features(
                tuple(map(_joined, features.weights, heard.weights)),
                tuple(map(_joined, features.biases, heard.biases)),
            )
        embedding: Tensor = self.head(features.means())
        return embedding


def _apply(layer: nn.Module, values: Tensor) -> Tensor:
    found: Tensor = layer(values)
    return found


def _joined(before: Tensor, heard: Tensor) -> Tensor:
    return before + nn.functional.silu(heard)
