import pytest
import torch

from training.worth.metanetwork import EdgeMessages, Metanetwork, Stack

SHAPES = ((5, 1, 9), (4, 5, 9), (3, 4, 1))


@pytest.fixture
def stack() -> Stack:
    generator = torch.Generator().manual_seed(0)
    weights = tuple(torch.randn(2, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES)
    biases = tuple(torch.randn(2, shape[0], generator=generator, dtype=torch.float64) for shape in SHAPES)
    return Stack(weights, biases)


@pytest.fixture
def network() -> Metanetwork:
    torch.manual_seed(0)
    return Metanetwork([shape[2] for shape in SHAPES], outputs=6).double()


def test_matrix_form_equals_one_edge_per_scalar_weight(stack: Stack, network: Metanetwork) -> None:
    one = stack.rows(torch.tensor([1]))
    neurons = network.initial(one)
    for round_ in network.rounds:
        matrices = torch.cat([m[0] for m in round_.messages(one, neurons)])
        edges = EdgeMessages(round_)(one, neurons)
        assert matrices.abs().max() > 0.1
        torch.testing.assert_close(matrices, edges, rtol=1e-6, atol=1e-6)
        neurons = round_(one, neurons)


def test_order_of_hidden_neurons_does_not_matter_but_one_sided_reordering_does(
    stack: Stack, network: Metanetwork
) -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    first, second, head = stack.weights
    biases = (stack.biases[0][:, order], *stack.biases[1:])
    renumbered = Stack((first[:, order], second[:, :, order], head), biases)
    broken = Stack((first[:, order], second, head), biases)
    torch.testing.assert_close(network(renumbered), network(stack), rtol=1e-10, atol=1e-10)
    assert (network(broken) - network(stack)).abs().max() > 1e-3


def test_a_network_is_embedded_alike_alone_and_among_others(stack: Stack, network: Metanetwork) -> None:
    alone = network(stack.rows(torch.tensor([1])))
    torch.testing.assert_close(network(stack)[1:], alone, rtol=1e-10, atol=1e-10)
    assert (network(stack)[0] - alone).abs().max() > 1e-3
