"""Candidates that are modules of the user's own."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fms_hub.errors import CandidateError
from fms_hub.models import catalog, zoo


class Net(nn.Module):
    """Convolution, two numbered blocks, a norm, a head."""

    def __init__(self, classes: int = 7) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(2))
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        features = self.stem(images)
        for block in self.blocks:
            features = block(features)
        return self.head(self.norm(features.mean((2, 3))))


class Tokens(nn.Module):
    """A network that returns no logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(32, 3)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images)


def test_the_last_linear_layer_becomes_the_head_of_a_copy() -> None:
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    (candidate,) = catalog.resolve(net)
    model = zoo.build(candidate, classes=4, image_size=16, seed=1)
    again = zoo.build(candidate, classes=4, image_size=16, seed=1)
    assert model.module(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
    assert model.input.size == 16
    state = model.module.state_dict()
    assert torch.equal(state["stem.weight"], before["stem.weight"])
    assert torch.equal(state["head.weight"], again.module.state_dict()["head.weight"])
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_head_that_fits_is_kept() -> None:
    net = Net(classes=4)
    built = zoo.build(catalog.resolve(net)[0], classes=4, image_size=16).module
    assert torch.equal(built.get_parameter("head.weight"), net.head.weight)
    assert built.get_parameter("head.weight") is not net.head.weight


def test_dropout_stands_in_front_of_the_head_and_changes_no_name() -> None:
    net = Net(classes=4)
    built = zoo.build(catalog.resolve(net)[0], classes=4, image_size=16, dropout=0.5).module
    assert built.state_dict().keys() == net.state_dict().keys()
    images = torch.rand(4, 3, 16, 16)
    assert torch.equal(built.eval()(images), built(images))
    built.train()
    built.get_submodule("norm").eval()
    assert not torch.equal(built(images), built(images))


def test_a_timm_network_gets_a_new_head_of_its_own_kind() -> None:
    network = timm.create_model("test_vit", num_classes=9, img_size=32)
    (candidate,) = catalog.resolve(network)
    model = zoo.build(candidate, classes=4, dropout=0.3)
    assert (candidate.name, model.input.size) == ("VisionTransformer", 32)
    assert model.module(torch.zeros(2, 3, 32, 32)).shape == (2, 4)
    assert network.num_classes == 9


def test_a_timm_network_of_the_users_own_is_exported_for_timm(tmp_path: Path) -> None:
    (candidate,) = catalog.resolve(timm.create_model("test_vit", num_classes=9, img_size=32))
    model = zoo.build(candidate, classes=2)
    zoo.export(model, candidate, ("no", "yes"), tmp_path)
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(opened(images), model.module.eval()(images), rtol=0, atol=0)


def test_another_module_is_exported_as_its_state_dict(tmp_path: Path) -> None:
    (candidate,) = catalog.resolve(Net())
    model = zoo.build(candidate, classes=2, image_size=16)
    zoo.export(model, candidate, ("no", "yes"), tmp_path)
    opened = Net(classes=2)
    opened.load_state_dict(load_file(tmp_path / "model.safetensors"))
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(opened.eval()(images), model.module.eval()(images))
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["module"], config["label_names"], config["input"]["size"]) == ("Net", ["no", "yes"], 16)


def test_groups_follow_the_module_and_end_with_the_head() -> None:
    module = zoo.build(catalog.resolve(Net())[0], classes=2, image_size=16).module
    assert [group[0] for group in zoo.layer_groups(module)] == [
        "stem.weight",
        "blocks.0.0.weight",
        "blocks.1.0.weight",
        "norm.weight",
        "head.weight",
    ]
    assert sum(map(len, zoo.layer_groups(module))) == len(list(module.parameters()))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Conv2d(3, 4, 3), "Conv2d has no nn.Linear"),
        (Tokens(), r"Tokens must map images .* to logits \(B, 3\); one gave \(1, 3, 32, 3\)"),
        (nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), "Sequential cannot take images of 32 x 32 pixels"),
    ],
)
def test_modules_that_are_no_classifiers_are_refused(module: nn.Module, message: str) -> None:
    with pytest.raises(CandidateError, match=message):
        zoo.build(catalog.resolve(module)[0], classes=3, image_size=32)
