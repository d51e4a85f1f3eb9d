from __future__ import annotations

import copy
import warnings

import pytest
import timm
import torch
from torch import nn

from fms_hub.errors import CandidateError, SpaceError, UsageError
from fms_hub.finetune.self_tuning.convert import convertible
from fms_hub.finetune.self_tuning.layers import HyperConv2d, HyperLinear
from fms_hub.finetune.self_tuning.network import SelfTuning, fold, responding, self_tuning
from fms_hub.models.model import InputSpec, Model

SPEC = InputSpec(32, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)


def timm_model(name: str) -> Model:
    torch.manual_seed(0)
    return Model(timm.create_model(name, num_classes=4, img_size=32 if "vit" in name else None), SPEC)


def quietly(model: Model, **arguments: object) -> SelfTuning:
    return self_tuning(model, quiet=True, **arguments)


def wild(network: SelfTuning) -> None:
    """A response that shows, and hyperparameters away from their start."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.network.named_parameters():
            if "response_gain" in name or "response_shift" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        network.hyperparameters.centre.add_(torch.randn(network.hyperparameters.centre.shape) * 0.5)


ARCHITECTURES = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_nfnet", "test_maxvit")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_timm_networks_keep_their_function_and_fold_back(name):
    model = timm_model(name)
    if name == "test_maxvit":
        model = Model(
            timm.create_model(name, num_classes=4, img_size=64),
            InputSpec(64, *(SPEC.mean,) * 2, "bilinear", 1.0),
        )
    model.module.eval()
    images = torch.randn(3, 3, model.input.size, model.input.size)
    before = model.module(images)
    network = quietly(model)
    anywhere = torch.randn(3, len(network.hyperparameters.centre))
    torch.testing.assert_close(network(images, anywhere), before, rtol=0, atol=1e-6)
    wild(network)
    centre = network.hyperparameters.centre
    together = network(images, centre.expand(3, -1))
    assert not torch.allclose(together, before, atol=1e-2)
    plain = fold(network)
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.module.modules()]
    assert plain.state_dict().keys() == model.module.state_dict().keys()
    torch.testing.assert_close(plain(images), together, rtol=1e-5, atol=1e-5)
    # The examples answer by themselves.
    others = torch.cat([centre[None], centre[None] + 1, centre[None] - 1])
    torch.testing.assert_close(network(images, others)[0], together[0], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(network(images, others)[1], together[1], atol=1e-3)


def test_what_cannot_be_converted_is_named_once_and_stays():
    with pytest.warns(UserWarning, match=r"leaves 25 of 34 layers .*stem.conv1 \(ScaledStdConv2d\)") as told:
        network = self_tuning(timm_model("test_nfnet"))
    assert len(told) == 1
    kinds = [type(part).__name__ for part in network.network.modules()]
    assert (kinds.count("ScaledStdConv2d"), kinds.count("HyperConv2d"), kinds.count("HyperLinear")) == (
        25,
        8,
        1,
    )


class Odd(nn.Module):
    """Layers of every kind that must stay, and two that may be converted."""

    def __init__(self) -> None:
        super().__init__()
        self.good = nn.Linear(4, 4)
        self.again = self.good
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.unused, self.direct = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied, self.tied_too = nn.Linear(4, 4), nn.Linear(4, 4)
        self.tied_too.weight = self.tied.weight
        self.across, self.table = nn.Linear(4, 4), nn.Linear(4, 4)
        self.frozen, self.part = nn.Linear(4, 4).requires_grad_(False), nn.Linear(4, 4)
        self.part.bias.requires_grad_(False)
        self.hooked, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.hooked.register_forward_pre_hook(lambda layer, inputs: None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.again(torch.tanh(self.good(x)))
        x = x + self.attention(x, x, x)[0] + nn.functional.linear(x, self.direct.weight)
        x = self.tied(x) + self.tied_too(x) + self.frozen(x) + self.part(x) + self.hooked(x)
        x = x + self.across(x.transpose(0, 1)).transpose(0, 1)
        return self.head(x.mean(1)) + self.table(torch.eye(4)).sum()


def test_only_layers_that_answer_for_each_example_by_itself_are_converted():
    torch.manual_seed(0)
    module, examples = Odd(), torch.randn(3, 4, 4)
    module.train()
    found = convertible(module, examples)
    assert set(found.layers) == {"good", "head"}
    assert dict(found.left) == {
        "attention": "MultiheadAttention",
        "attention.out_proj": "NonDynamicallyQuantizableLinear",
        "unused": "is never called",
        "direct": "is never called",
        "tied": "shares its weights",
        "tied_too": "shares its weights",
        "part": "is frozen in part",
        "hooked": "has hooks",
        "across": "does not see each example by itself",
        "table": "does not see each example by itself",
    }
    assert all(part.training for part in module.modules())
    assert not module.good._forward_pre_hooks
    network = responding(module, examples, ())
    assert network.network.good is network.network.again
    plain = fold(network)
    assert plain.good is plain.again
    assert type(plain.good) is nn.Linear
    with pytest.raises(UsageError, match="takes three examples, found 2"):
        convertible(module, examples[:2])


def test_statistics_and_the_callers_generator_stay_as_they_were():
    model = timm_model("test_resnet")
    before, state = copy.deepcopy(model.module.state_dict()), torch.get_rng_state()
    network = self_tuning(model, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())
    again, other = self_tuning(model, seed=3).state_dict(), self_tuning(model, seed=4).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())
    assert any(not torch.equal(value, other[name]) for name, value in network.state_dict().items())


def test_the_head_alone():
    network = self_tuning(timm_model("test_resnet"), ["dropout", "hue"], "head")
    converted = [p for p, m in network.network.named_modules() if isinstance(m, HyperLinear | HyperConv2d)]
    assert converted == ["fc"]
    assert network.network.fc.drop == "dropout"


def test_dropout_reaches_the_head_and_hidden_dropout_the_layers_between():
    network = self_tuning(timm_model("test_resnet"), ["dropout", "hidden_dropout"]).eval()
    drops = {
        path: m.drop
        for path, m in network.network.named_modules()
        if isinstance(m, HyperConv2d | HyperLinear)
    }
    assert drops.pop("conv1.0" if "conv1.0" in drops else "conv1") is None
    assert drops.pop("fc") == "dropout"
    assert set(drops.values()) == {"hidden_dropout"}
    images = torch.randn(2, 3, 32, 32)
    low, high = torch.full((2, 2), -20.0), torch.tensor([[-20.0, -20.0], [2.0, -20.0]])
    still, moved = network(images, low), network(images, high, drop=True)
    torch.testing.assert_close(moved[0], still[0])
    assert not torch.allclose(moved[1], still[1])
    torch.testing.assert_close(network(images, high), still)


def test_bad_requests_are_refused():
    model = timm_model("test_resnet")
    with pytest.raises(UsageError, match="'all' or 'head', found 'body'"):
        self_tuning(model, layers="body")
    with pytest.raises(SpaceError, match="found colour"):
        self_tuning(model, ["colour"])
    with pytest.raises(SpaceError, match=r"'hue' must start in \[0, 0.5\], found 0.6"):
        self_tuning(model, ["hue"], starts={"hue": 0.6})
    model.module.requires_grad_(False)
    with pytest.raises(CandidateError, match="found none in ResNet"), warnings.catch_warnings():
        self_tuning(model)
