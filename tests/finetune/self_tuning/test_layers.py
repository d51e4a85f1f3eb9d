from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from fms_hub.errors import UsageError
from fms_hub.finetune.self_tuning.layers import HyperConv2d, HyperLinear, Setting, Signal, by_row, dropped

H = 3


def wild(layer: HyperConv2d | HyperLinear, seed: int) -> None:
    """A response as large as the layer itself."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)


def run(layer: HyperConv2d | HyperLinear, inputs: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
    with layer.signal.carrying(Setting(offsets)):
        return layer(inputs)


@st.composite
def convolutions(draw) -> nn.Conv2d:
    groups = draw(st.integers(1, 3))
    mode = draw(st.sampled_from(["zeros", "reflect", "replicate", "circular"]))
    padding = draw(st.sampled_from(["same", "valid", 0, 1, (2, 1)]))
    arguments = {
        "in_channels": groups * draw(st.integers(1, 2)),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "stride": 1 if padding == "same" else draw(st.integers(1, 2)),
        "dilation": draw(st.integers(1, 2)),
        "groups": groups,
        "bias": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return Conv2dSame(**arguments | {"stride": draw(st.integers(1, 3))})
    return nn.Conv2d(**arguments, padding=padding, padding_mode=mode)


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(0, 2**31), st.integers(1, 2))
def test_a_convolution_does_for_each_example_what_its_folded_layer_does(plain, seed, rows):
    layer = HyperConv2d(plain, signal=Signal(), hyperparameters=H)
    wild(layer, seed)
    offsets = torch.randn(2, H, generator=torch.Generator().manual_seed(seed))
    images = torch.randn(2 * rows, plain.in_channels, 7, 6)
    together = run(layer, images, offsets)
    for example in range(2):
        folded = layer.folded(offsets[example])
        assert type(folded) is type(plain)
        mine = slice(example * rows, (example + 1) * rows)
        torch.testing.assert_close(folded(images[mine]), together[mine], rtol=1e-5, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.booleans(), st.integers(0, 2), st.integers(0, 2**31))
def test_a_linear_layer_does_for_each_example_what_its_folded_layer_does(inputs, outputs, bias, inner, seed):
    layer = HyperLinear(nn.Linear(inputs, outputs, bias), signal=Signal(), hyperparameters=H)
    wild(layer, seed)
    offsets = torch.randn(3, H, generator=torch.Generator().manual_seed(seed))
    features = torch.randn(6, *range(2, 2 + inner), inputs)
    together = run(layer, features, offsets)
    for example in range(3):
        folded = layer.folded(offsets[example])
        mine = slice(2 * example, 2 * example + 2)
        torch.testing.assert_close(folded(features[mine]), together[mine], rtol=1e-5, atol=1e-5)


def test_one_number_by_hand():
    """(2 * 3 + 1) + (V d) (W' 3) + (C d) b' with V d = 0.5 * 2, W' = 4, C d = -1 * 2, b' = 10."""
    layer = HyperLinear(nn.Linear(1, 1), signal=Signal(), hyperparameters=1)
    values = {"weight": 2.0, "bias": 1.0, "response_weight": 4.0, "response_bias": 10.0}
    values |= {"response_gain": 0.5, "response_shift": -1.0}
    layer.load_state_dict({k: torch.full_like(v, values[k]) for k, v in layer.state_dict().items()})
    assert run(layer, torch.tensor([[3.0]]), torch.tensor([[2.0]])).item() == 7 + 12 - 20


@pytest.mark.parametrize("plain", [nn.Linear(4, 3), nn.Conv2d(4, 3, 3, padding="same")])
def test_a_new_layer_has_the_plain_function_exactly_and_a_response_that_learns_at_once(plain):
    nn.init.zeros_(plain.bias)
    layer_of = HyperLinear if isinstance(plain, nn.Linear) else HyperConv2d
    layer = layer_of(plain, signal=Signal(), hyperparameters=H)
    inputs = torch.randn((5, 4) if isinstance(plain, nn.Linear) else (5, 4, 6, 6))
    answer = run(layer, inputs, 5 * torch.randn(5, H))
    assert torch.equal(answer, plain(inputs))
    answer.square().sum().backward()
    assert (layer.response_gain.grad != 0).all()
    assert (layer.response_shift.grad != 0).all()


def test_the_norm_is_that_of_each_examples_effective_weights():
    layer = HyperConv2d(nn.Conv2d(2, 3, 3), signal=Signal(), hyperparameters=H)
    wild(layer, 0)
    offsets = torch.randn(4, H)
    expected = torch.stack([layer.folded(row).weight.square().sum() for row in offsets])
    torch.testing.assert_close(layer.squared_norm(offsets), expected)


def test_each_example_drops_at_its_own_rate_and_keeps_its_mean():
    torch.manual_seed(0)
    setting = Setting(torch.zeros(3, H), {"dropout": torch.tensor([0.0, 0.5, 0.9])})
    inputs = torch.ones(6, 20_000)
    found = dropped(inputs, setting, "dropout")
    assert torch.equal(found[:2], inputs[:2])
    share = (found == 0).float().mean(dim=1)
    torch.testing.assert_close(share, torch.tensor([0, 0, 0.5, 0.5, 0.9, 0.9]), atol=0.02, rtol=0)
    torch.testing.assert_close(found.mean(dim=1), torch.ones(6), atol=0.1, rtol=0)
    assert dropped(inputs, setting, "hidden_dropout") is inputs
    assert dropped(inputs, setting, None) is inputs


def test_a_layer_outside_its_network_and_rows_that_do_not_fit_are_refused():
    layer = HyperLinear(nn.Linear(2, 2), signal=Signal(), hyperparameters=H)
    with pytest.raises(UsageError, match="outside its network"):
        layer(torch.zeros(1, 2))
    with pytest.raises(UsageError, match="each of 2 examples, found 3"):
        run(layer, torch.zeros(3, 2), torch.zeros(2, H))
    with pytest.raises(UsageError, match="outside its network"):
        layer(torch.zeros(1, 2))
    assert by_row(torch.tensor([1, 2]), torch.zeros(4)).tolist() == [1, 1, 2, 2]
