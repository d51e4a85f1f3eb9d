"""A graph network over weight graphs of any architecture: nodes are parametric operations and joins."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import RGCNConv, global_max_pool, global_mean_pool

from fms_hub.weights.graph import COLUMNS
from fms_hub.weights.structure import KINDS

RELATIONS: Final = 4
"""Dataflow and its reverse, of edges forward and of edges back to an operation used again."""

_CLIP: Final = 4.0


class GraphEncoder(nn.Module):
    """Embeds weight graphs: (graphs, outputs).

    Args:
        centre, spread: of the node features other than the kind, over the graphs it is trained on.
        outputs: width of the embedding.
        width: of the nodes.
        rounds: of messages; after each, a virtual node per graph hears all nodes and answers them.
        dropout: while training, in [0, 1).
    """

    def __init__(
        self,
        centre: Tensor,
        spread: Tensor,
        *,
        outputs: int = 32,
        width: int = 48,
        rounds: int = 3,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("spread", spread)
        self.kind = nn.Embedding(len(KINDS), width)
        self.features = nn.Linear(len(COLUMNS) - len(KINDS), width)
        self.messages = nn.ModuleList([RGCNConv(width, width, RELATIONS) for _ in range(rounds)])
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(rounds)])
        self.virtual = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
                for _ in range(rounds)
            ]
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * width, outputs)

    def forward(self, data: Data) -> Tensor:
        """Embed a batch as `torch_geometric.data.Batch` makes it of `WeightGraph.to_data()`."""
        batch, graphs = data.batch, int(data.num_graphs)
        edges, types = both_directions(data.edge_index, data.edge_type)
        features = (data.x[:, len(KINDS) :] - self.centre) / self.spread
        h = self.kind(data.x[:, : len(KINDS)].argmax(1)) + self.features(features.clamp(-_CLIP, _CLIP))
        for message, norm, virtual in zip(self.messages, self.norms, self.virtual, strict=True):
            h = h + self.dropout(torch.nn.functional.silu(norm(message(h, edges, types))))
            h = h + virtual(global_mean_pool(h, batch, graphs))[batch]
        pooled = [global_mean_pool(h, batch, graphs), global_max_pool(h, batch, graphs)]
        embedding: Tensor = self.head(torch.cat(pooled, 1))
        return embedding


def both_directions(edges: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
    """Every edge and its reverse, whose type is 2 higher: (2, 2 E) and (2 E,)."""
    return torch.cat([edges, edges.flip(0)], 1), torch.cat([types, types + 2])


def scales(graphs: list[Data]) -> tuple[Tensor, Tensor]:
    """Centre and spread of the node features other than the kind over these graphs' nodes that have them."""
    x = torch.cat([graph.x[:, len(KINDS) :] for graph in graphs])
    present = x != 0
    count = present.sum(0).clamp_min(1)
    centre = x.sum(0) / count
    spread = (torch.where(present, x - centre, 0.0).square().sum(0) / count).sqrt()
    return centre, spread.clamp_min(1e-2)
