from collections.abc import Callable

import pytest
import torch
from torch import nn

from training.worth.flat import Flat
from training.worth.functional import Functional
from training.worth.metanetwork import EdgeMessages, Metanetwork, functions_of
from training.worth.stack import Stack

SHAPES = ((5, 1, 9), (4, 5, 9), (3, 4, 1))
TAPS = [shape[2] for shape in SHAPES]
Make = Callable[..., nn.Module]
INVARIANT = pytest.mark.parametrize("make", [Metanetwork, Functional])


@pytest.fixture
def stack() -> Stack:
    generator = torch.Generator().manual_seed(0)
    weights = tuple(torch.randn(2, *shape, generator=generator, dtype=torch.float64) for shape in SHAPES)
    biases = tuple(torch.randn(2, shape[0], generator=generator, dtype=torch.float64) for shape in SHAPES)
    return Stack(weights, biases)


def network(make: Make) -> nn.Module:
    torch.manual_seed(0)
    return make(TAPS, outputs=6).double()


def renumbered(stack: Stack) -> tuple[Stack, Stack]:
    """With the first layer's neurons in another order, on both of its sides and on one."""
    order = torch.tensor([3, 1, 4, 0, 2])
    first, second, head = stack.weights
    biases = (stack.biases[0][:, order], *stack.biases[1:])
    return (
        Stack((first[:, order], second[:, :, order], head), biases),
        Stack((first[:, order], second, head), biases),
    )


def test_matrix_form_equals_one_edge_per_scalar_weight(stack: Stack) -> None:
    one, reader = stack.rows(torch.tensor([1])), network(Metanetwork)
    neurons, functions = reader.initial(one), functions_of(one)
    for round_ in reader.rounds:
        matrices = torch.cat([m[0] for m in round_.messages(functions, neurons)])
        edges = EdgeMessages(round_)(one, neurons)
        assert matrices.abs().max() > 0.1
        torch.testing.assert_close(matrices, edges, rtol=1e-6, atol=1e-6)
        neurons = round_(functions, neurons)


@INVARIANT
def test_order_of_hidden_neurons_does_not_matter_but_one_sided_reordering_does(
    stack: Stack, make: Make
) -> None:
    reader, (whole, broken) = network(make), renumbered(stack)
    torch.testing.assert_close(reader(whole), reader(stack), rtol=1e-10, atol=1e-10)
    assert (reader(broken) - reader(stack)).abs().max() > 1e-3


def test_flattened_weights_know_no_order(stack: Stack) -> None:
    torch.manual_seed(0)
    reader = Flat(sum(t[0].numel() for t in (*stack.weights, *stack.biases)), outputs=6).double()
    assert (reader(renumbered(stack)[0]) - reader(stack)).abs().max() > 1e-3


@INVARIANT
def test_a_network_is_embedded_alike_alone_and_among_others(stack: Stack, make: Make) -> None:
    reader = network(make)
    alone = reader(stack.rows(torch.tensor([1])))
    torch.testing.assert_close(reader(stack)[1:], alone, rtol=1e-10, atol=1e-10)
    assert (reader(stack)[0] - alone).abs().max() > 1e-3
