"""Which axes run over the same neurons, and messages between them, on networks small enough to check."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fms_hub.weights.trace import trace
from training.weight_passing.axes import AxisClasses, Chain, Grid, Neurons, Ordered, permute, positions
from training.weight_passing.infer import infer_axes
from training.weight_passing.labels import (
    Fixed,
    Sum,
    concatenation,
    cut,
    fresh,
    product,
    resolve,
    split,
    unify,
)
from training.weight_passing.passing import L2, Wiring, l2, pooled_l2

SIZE = (3, 8, 8)


class Flat(nn.Module):
    def __init__(self, between: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.grouped = nn.Conv2d(6, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.fc = nn.Linear(8 * 16, 5)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(torch.relu(self.grouped(self.between(self.conv(x)))))
        x = nn.functional.avg_pool2d(x, 2)
        out: Tensor = self.fc(x.flatten(1))
        return out


class Attention(nn.Module):
    """Tokens of 4 x 4 pixels; q, k and v packed in one of three layouts."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 4, stride=4)
        self.qkv = nn.Linear(12, 3 * 2 * 5)
        self.proj = nn.Linear(10, 12)
        self.head = nn.Linear(12, 4)
        self.layout = layout

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        packed = self.qkv(x)
        n, tokens = x.shape[:2]
        if self.layout == "3hd":
            q, k, v = packed.reshape(n, tokens, 3, 2, 5).permute(2, 0, 3, 1, 4).unbind(0)
        elif self.layout == "h3d":
            q, k, v = packed.reshape(n, tokens, 2, 3, 5).permute(3, 0, 2, 1, 4).unbind(0)
        else:
            q, k, v = (part.reshape(n, tokens, 2, 5).transpose(1, 2) for part in packed.chunk(3, dim=-1))
        met = (q @ k.transpose(-2, -1)).softmax(-1) @ v
        x = x + self.proj(met.transpose(1, 2).reshape(n, tokens, 10))
        out: Tensor = self.head(x.mean(1))
        return out


def _state(module: nn.Module) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    named = module.double().named_parameters()
    return {name: torch.randn(p.shape, generator=generator, dtype=torch.float64) for name, p in named}


def _output(module: nn.Module, state: dict[str, Tensor]) -> Tensor:
    images = torch.randn(2, *SIZE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        out: Tensor = torch.func.functional_call(module, state, (images,))
    return out


def test_flatten_groups_and_depthwise_come_out_by_themselves() -> None:
    classes = infer_axes(Flat(), SIZE)
    group, inner = classes.axes["conv.weight"][0].parts  # type: ignore[union-attr]
    assert (group.size, inner.size) == (2, 3)
    assert classes.axes["grouped.weight"][1] == inner
    whole = classes.axes["grouped.weight"][0]
    assert isinstance(whole, Grid) and whole.parts[0] == group and whole.parts[1].size == 4
    assert classes.axes["depthwise.weight"] == (whole, Ordered(1), Ordered(3), Ordered(3))
    assert classes.axes["fc.weight"] == (Ordered(5), Grid((*whole.parts, Ordered(16))))
    assert classes.axes["conv.weight"][1:] == (Ordered(3), Ordered(3), Ordered(3))


@pytest.mark.parametrize("layout", ["3hd", "h3d", "chunk"])
def test_packed_attention_ties_q_with_k_and_v_with_proj(layout: str) -> None:
    module = Attention(layout)
    classes = infer_axes(module, SIZE)
    packed = classes.axes["qkv.weight"][0]
    slots = packed.parts if isinstance(packed, Chain) else packed.parts[1].parts  # type: ignore[union-attr]
    q, k, v = (slot.parts[-1] if isinstance(slot, Grid) else slot for slot in slots)  # type: ignore[union-attr]
    assert q == k != v
    head = classes.axes["proj.weight"][1]
    assert isinstance(head, Grid) and head.parts[1] == v and head.parts[0].size == 2
    assert classes.axes["embed.weight"][0] == classes.axes["qkv.weight"][1] == classes.axes["proj.bias"][0]
    state = _state(module)
    moved = permute(state, classes, torch.Generator().manual_seed(3))
    torch.testing.assert_close(_output(module, moved), _output(module, state), rtol=1e-12, atol=1e-12)
    assert not torch.equal(moved["qkv.weight"], state["qkv.weight"])


def test_each_class_alone_keeps_the_function_and_a_broken_one_does_not() -> None:
    module = Flat()
    classes, state = infer_axes(module, SIZE), _state(module)
    before = _output(module, state)
    assert classes.sizes == (2, 3, 4)
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        moved = permute(state, classes, generator, only={number})
        torch.testing.assert_close(_output(module, moved), before, rtol=1e-12, atol=1e-12)
        name = classes.members[number][0][0]
        if not torch.equal(moved[name], state[name]):
            assert not torch.allclose(_output(module, state | {name: moved[name]}), before)


@pytest.mark.parametrize(
    "between",
    [lambda x: x.sort(1).values, lambda x: x.flip(1), lambda x: x.cumsum(1), lambda x: x.roll(1, 1)],
    ids=["sort", "flip", "cumsum", "roll"],
)
def test_operations_that_mind_the_order_keep_it(between: Callable[[Tensor], Tensor]) -> None:
    classes = infer_axes(Flat(between), SIZE)
    assert classes.axes["conv.weight"][0] == Ordered(6)


def test_unused_parameters_and_the_module_are_left_alone() -> None:
    module = Flat()
    module.register_parameter("spare", nn.Parameter(torch.ones(7)))
    before = copy.deepcopy(module.state_dict())
    assert infer_axes(module, SIZE).axes["spare"] == (Ordered(7),)
    for name, tensor in module.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


def test_positions_of_a_chain_of_grids() -> None:
    axis = Chain((Grid((Neurons(0, 2), Ordered(2))), Neurons(0, 2)))
    assert positions(axis, [torch.tensor([1, 0])]).tolist() == [2, 3, 0, 1, 5, 4]


def test_unifying_finds_the_common_refinement() -> None:
    whole, a, b = fresh(24), fresh(4), fresh(6)
    unify(whole, product([a, b]))
    outer, inner = split(whole, 8)
    assert resolve(whole) == product([a, split(b, 2)[0], inner])
    assert resolve(outer) == product([a, split(b, 2)[0]])


def test_incompatible_factorisations_are_fixed() -> None:
    first, second = product([fresh(4), fresh(6)]), product([fresh(6), fresh(4)])
    unify(first, second)
    assert (resolve(first), resolve(second)) == (Fixed(24), Fixed(24))


def test_a_dimension_tied_to_its_own_parts_is_fixed() -> None:
    whole = fresh(4)
    half, _ = cut(whole, 2)
    unify(product([half, half]), whole)
    assert resolve(whole) == Fixed(4)


def test_cutting_through_sums_and_products() -> None:
    a, b = fresh(4), fresh(6)
    first, rest = cut(concatenation([a, product([b, a])]), 4 + 2 * 4)
    assert resolve(b) == Sum(tuple(cut(b, 2)))
    assert resolve(first) == concatenation([a, product([cut(b, 2)[0], a])])
    assert resolve(rest) == product([cut(b, 2)[1], a])


def test_l2_does_not_mind_other_permutations_in_every_head() -> None:
    """Finer than the inferred classes: features per neuron are also invariant to what is larger."""
    module = Attention("3hd")
    wiring = Wiring(trace(module, SIZE), infer_axes(module, SIZE))
    state = _state(module)
    inner = torch.tensor([2, 0, 1, 4, 3])
    order = torch.cat([inner, torch.arange(5, 10)])
    moved = dict(state)
    both = torch.cat([order, 10 + order, torch.arange(20, 30)])
    for name in ("qkv.weight", "qkv.bias"):
        moved[name] = state[name][both]
    torch.testing.assert_close(_output(module, moved), _output(module, state), rtol=1e-12, atol=1e-12)
    before = l2(wiring, state)
    np.testing.assert_allclose(l2(wiring, moved), before, rtol=1e-10)
    wrong = state | {"qkv.weight": moved["qkv.weight"]}
    assert np.linalg.norm(l2(wiring, wrong) - before) >= 1e-5 * np.linalg.norm(before)


def test_l2_of_grouped_convolutions_does_not_mind_the_order_within_one_group() -> None:
    module = Flat()
    wiring = Wiring(trace(module, SIZE), infer_axes(module, SIZE))
    state, order = _state(module), torch.tensor([2, 0, 1, 3, 4, 5])
    moved = state | {name: state[name][order] for name in ("conv.weight", "conv.bias")}
    moved["grouped.weight"] = torch.cat([state["grouped.weight"][:4, order[:3]], state["grouped.weight"][4:]])
    torch.testing.assert_close(_output(module, moved), _output(module, state), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(l2(wiring, moved), l2(wiring, state), rtol=1e-10)


def test_one_round_of_messages_along_a_dense_network_by_hand() -> None:
    """Rows of a matrix hear its columns: scaling one input column is seen by every later matrix."""
    module = Flat()
    wiring = Wiring(trace(module, SIZE), infer_axes(module, SIZE))
    state = _state(module)
    louder = state | {"conv.bias": 2 * state["conv.bias"]}
    change = np.abs(l2(wiring, louder) - l2(wiring, state)).max(1)
    assert [change[link.node] > 1e-6 for link in wiring.links] == [True] * 4
    assert pooled_l2(wiring, state).shape == (6 * len(L2),)
    huge = {name: 1e6 * tensor for name, tensor in state.items()}
    assert np.isfinite(pooled_l2(wiring, huge)).all()


def test_half_and_single_precision_agree() -> None:
    module = Flat()
    wiring = Wiring(trace(module, SIZE), infer_axes(module, SIZE))
    state = _state(module)
    exact = pooled_l2(wiring, state)
    single = pooled_l2(wiring, {name: tensor.float() for name, tensor in state.items()})
    half = pooled_l2(wiring, {name: tensor.half() for name, tensor in state.items()})
    np.testing.assert_allclose(single, exact, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(half, exact, rtol=1e-1, atol=1e-2)


def test_members_lists_every_place_of_a_class() -> None:
    classes = AxisClasses((2,), {"a": (Neurons(0, 2), Ordered(3)), "b": (Grid((Neurons(0, 2), Ordered(4))),)})
    assert classes.members == ((("a", 0), ("b", 0)),)
