import pytest
import torch
from torch import nn
from torch_geometric.data import Batch, Data

from fms_hub.weights.describe import describe
from fms_hub.weights.graph import COLUMNS
from training.corpus.small_net import PIXELS, SmallCNN
from training.worth.encoder import RELATIONS, GraphEncoder, both_directions, scales


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x))
        return self.head((x + self.conv(x)).mean((2, 3)))


@pytest.fixture
def graphs() -> list[Data]:
    torch.manual_seed(0)
    return [describe(net, (1, PIXELS, PIXELS)).to_data() for net in (SmallCNN(3), Residual(), SmallCNN(5))]


@pytest.fixture
def encoder(graphs: list[Data]) -> GraphEncoder:
    torch.manual_seed(0)
    return GraphEncoder(*scales(graphs), outputs=7).eval()


def test_graphs_of_different_architectures_are_embedded_in_one_batch_as_alone(
    graphs: list[Data], encoder: GraphEncoder
) -> None:
    together = encoder(Batch.from_data_list(graphs))
    alone = torch.cat([encoder(Batch.from_data_list([graph])) for graph in graphs])
    assert together.shape == (3, 7)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 1e-3


def test_direction_of_an_edge_is_heard(graphs: list[Data], encoder: GraphEncoder) -> None:
    turned = graphs[1].clone()
    turned.edge_index = turned.edge_index.flip(0)
    pair = encoder(Batch.from_data_list([graphs[1], turned]))
    assert (pair[0] - pair[1]).abs().max() > 1e-4


def test_both_directions_have_types_of_their_own() -> None:
    edges, types = both_directions(torch.tensor([[0, 1], [1, 1]]), torch.tensor([0, 1]))
    assert edges.tolist() == [[0, 1, 1, 1], [1, 1, 0, 1]]
    assert types.tolist() == [0, 1, 2, 3]
    assert len(set(types.tolist())) == RELATIONS


def test_scales_look_only_at_nodes_that_have_the_feature(graphs: list[Data]) -> None:
    centre, _ = scales(graphs)
    column = COLUMNS.index("log_rms")
    values = torch.cat([graph.x[:, column] for graph in graphs])
    kinds = sum(name.startswith("kind_") for name in COLUMNS)
    assert centre[column - kinds] == pytest.approx(values[values != 0].mean().item(), rel=1e-5)
