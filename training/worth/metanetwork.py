"""A graph metanetwork: message passing between the neurons of a network along its scalar weights.

Source: D. Lim et al., "Graph Metanetworks for Processing Diverse Neural Architectures" (2024): neurons are
nodes, every scalar weight is an edge, the taps of a kernel are parallel edges. The same sums are written
twice: over edges in torch_geometric, the reference, and as matrix products, in which no edge is ever made.

n = networks of one architecture, L = layers, O and I = neurons of a layer and of the one before, T = taps,
R = mixtures, d = width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from training.worth.stack import Stack

_BASIS = 3


Functions = Sequence[tuple[Tensor, Tensor]]
"""Of each layer's weights, (n, O, I, 3 T), and the same for the way back, (n, I, O, 3 T)."""


def basis(weights: Tensor) -> Tensor:
    """The functions of a weight that messages are linear in, in a new last axis: w, abs w, w squared."""
    return torch.stack([weights, weights.abs(), weights.square()], -1)


def functions_of(stack: Stack) -> Functions:
    """What all rounds read of the weights; no parameter has a part in it."""
    found = [basis(weights).flatten(3) for weights in stack.weights]
    return [(one, one.transpose(1, 2).contiguous()) for one in found]


class Round(nn.Module):
    """One round of messages, with and against the data's direction, and the update of the neurons.

    A message from neuron i to neuron j along weight w at tap t is sum_r g_r(w, t) A_r h_i, where g_r is
    linear in `basis` with coefficients of its own per layer and tap.

    Args:
        taps: T per layer.
        width: d.
        mixtures: R.
    """

    def __init__(self, taps: Sequence[int], width: int, mixtures: int) -> None:
        super().__init__()
        self.mixtures = mixtures
        self.gates = nn.ParameterList(
            [torch.randn(mixtures, t, _BASIS) / (t * _BASIS) ** 0.5 for t in taps for _ in range(2)]
        )
        self.down = nn.Linear(width, mixtures * width, bias=False)
        self.up = nn.Linear(width, mixtures * width, bias=False)
        self.update = nn.Sequential(
            nn.LayerNorm(3 * width), nn.Linear(3 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def messages(self, functions: Functions, neurons: Sequence[Tensor]) -> list[Tensor]:
        """Sums of messages, both directions side by side: per layer of neurons (n, size, 2 d).

        Args:
            functions: of the weights.
            neurons: L + 1 tensors (n, size, d).
        """
        down = [torch.zeros_like(neurons[0])]
        up: list[Tensor] = []
        for layer, (forth, back) in enumerate(functions):
            down.append(self._sums(forth, self.gates[2 * layer], self.down(neurons[layer])))
            up.append(self._sums(back, self.gates[2 * layer + 1], self.up(neurons[layer + 1])))
        up.append(torch.zeros_like(neurons[-1]))
        return [torch.cat(pair, -1) for pair in zip(down, up, strict=True)]

    def _sums(self, functions: Tensor, gates: Tensor, mixed: Tensor) -> Tensor:
        """What neurons hear, (n, to, d): others are (n, from, R d), their functions (n, to, from, 3 T)."""
        matrices = (functions @ gates.flatten(1).mT).flatten(2)
        n, others, width = mixed.shape
        sums: Tensor = matrices @ mixed.reshape(n, others * self.mixtures, width // self.mixtures)
        return sums

    def forward(self, functions: Functions, neurons: Sequence[Tensor]) -> list[Tensor]:
        """New neurons, residual: L + 1 tensors (n, size, d)."""
        summed = self.messages(functions, neurons)
        return [h + self.update(torch.cat([h, m], -1)) for h, m in zip(neurons, summed, strict=True)]


class EdgeMessages(MessagePassing):  # type: ignore[misc]
    """The messages of a `Round` for one network with one edge per scalar weight: the reference.

    Args:
        round_: whose parameters are used.
    """

    def __init__(self, round_: Round) -> None:
        super().__init__(aggr="add", node_dim=0)
        self.round = round_

    def forward(self, stack: Stack, neurons: Sequence[Tensor]) -> Tensor:
        """Sums of messages of all neurons, the input's first: (total neurons, 2 d); n must be 1."""
        starts = [sum(stack.sizes[:layer]) for layer in range(len(stack.sizes))]
        flat = torch.cat([h[0] for h in neurons])
        edges: list[Tensor] = []
        down: list[Tensor] = []
        up: list[Tensor] = []
        for layer, weights in enumerate(stack.weights):
            outputs, inputs, taps = torch.meshgrid(*map(torch.arange, weights.shape[1:]), indexing="ij")
            ends = torch.stack([starts[layer] + inputs.flatten(), starts[layer + 1] + outputs.flatten()])
            functions = basis(weights[0].flatten())
            edges.append(ends)
            for gates, found in ((self.round.gates[2 * layer], down), (self.round.gates[2 * layer + 1], up)):
                found.append(torch.einsum("eb,reb->er", functions, gates[:, taps.flatten()]))
        ends = torch.cat(edges, 1)
        shape = (self.round.mixtures, -1)
        below = self.propagate(ends, mixed=self.round.down(flat).unflatten(-1, shape), gate=torch.cat(down))
        above = self.propagate(
            ends.flip(0), mixed=self.round.up(flat).unflatten(-1, shape), gate=torch.cat(up)
        )
        return torch.cat([below, above], -1)

    def message(self, mixed_j: Tensor, gate: Tensor) -> Tensor:
        """One edge's message: (edges, d)."""
        return torch.einsum("er,erd->ed", gate, mixed_j)


class Metanetwork(nn.Module):
    """From weights to an embedding that does not depend on the order of hidden neurons.

    Args:
        taps: T per layer.
        outputs: width of the embedding.
        width: d.
        rounds: of messages.
        mixtures: R.
    """

    def __init__(
        self, taps: Sequence[int], outputs: int, *, width: int = 16, rounds: int = 3, mixtures: int = 4
    ) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(len(taps) + 1, width))
        self.bias = nn.Linear(1, width, bias=False)
        self.rounds = nn.ModuleList([Round(taps, width, mixtures) for _ in range(rounds)])
        self.head = nn.Sequential(
            nn.LayerNorm(2 * width * len(taps)), nn.Linear(2 * width * len(taps), outputs)
        )

    def initial(self, stack: Stack) -> list[Tensor]:
        """Neurons before the first round: L + 1 tensors (n, size, d)."""
        blank = torch.zeros_like(stack.biases[0][:, :1]).expand(-1, stack.sizes[0])
        biases = (blank, *stack.biases)
        return [s + self.bias(b[..., None]) for s, b in zip(self.start, biases, strict=True)]

    def forward(self, stack: Stack) -> Tensor:
        """Embed n networks: (n, outputs)."""
        neurons, functions = self.initial(stack), functions_of(stack)
        for round_ in self.rounds:
            neurons = round_(functions, neurons)
        pooled = [part for h in neurons[1:] for part in (h.mean(1), h.std(1))]
        embedding: Tensor = self.head(torch.cat(pooled, -1))
        return embedding
