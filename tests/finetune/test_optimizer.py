from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from fms_hub.errors import CheckpointError
from fms_hub.finetune.optimizer import (
    Schedule,
    build_optimizer,
    freeze,
    optimizer_tensors,
    parameter_groups,
    restore_optimizer,
    set_learning_rate,
    train_mode,
)
from fms_hub.finetune.recipe import Recipe


class Small(nn.Module):
    """A stem, two blocks and a head, with one parameter that is no layer's kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 4, 8, 8))
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.block1 = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))
        self.block2 = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1), nn.Dropout(0.5))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block2(self.block1(self.stem(x) + self.position)).mean((2, 3)))


GROUPS = (
    ("position", "stem.weight", "stem.bias"),
    ("block1.0.weight", "block1.0.bias", "block1.1.weight", "block1.1.bias"),
    ("block2.0.weight", "block2.0.bias", "block2.1.weight", "block2.1.bias"),
    ("head.weight", "head.bias"),
)


def placed(module: nn.Module, recipe: Recipe) -> dict[str, tuple[float, float]]:
    names = {id(p): n for n, p in module.named_parameters()}
    return {
        names[id(p)]: (group["lr_scale"], group["weight_decay"])
        for group in parameter_groups(module, GROUPS, recipe)
        for p in group["params"]
    }


def test_decay_and_learning_rate_per_layer():
    module = Small()
    found = placed(module, Recipe(layer_decay=0.5, weight_decay=0.1))
    assert found.keys() == dict(module.named_parameters()).keys()
    assert found["head.weight"] == (1.0, 0.1)
    assert found["head.bias"] == (1.0, 0.0)
    assert found["block2.1.weight"] == (0.5, 0.1)
    assert found["block2.0.weight"] == (0.5, 0.0)
    assert found["stem.weight"] == (0.125, 0.1)
    assert found["position"] == (0.125, 0.0)


def test_without_layer_decay_there_are_two_groups():
    assert len(parameter_groups(Small(), GROUPS, Recipe(weight_decay=0.1))) == 2


@pytest.mark.parametrize(("fraction", "fixed"), [(0.0, 0), (0.3, 1), (0.5, 2), (0.67, 2), (1.0, 3)])
def test_a_fraction_of_the_backbone_is_frozen_from_the_stem(fraction, fixed):
    module = Small()
    freeze(module, GROUPS, fraction)
    frozen = {n for n, p in module.named_parameters() if not p.requires_grad}
    assert frozen == {name for group in GROUPS[:fixed] for name in group}


def test_what_the_owner_froze_stays_frozen():
    module = Small()
    module.position.requires_grad_(False)
    freeze(module, GROUPS, 0.0)
    assert "position" not in placed(module, Recipe())


def test_frozen_layers_are_in_evaluation_mode():
    module = Small()
    freeze(module, GROUPS, 0.67)
    train_mode(module)
    assert not module.block1.training
    assert not module.block1[0].training
    assert module.training
    assert module.block2[0].training
    assert module.block2[2].training


def test_the_schedule_by_hand():
    schedule = Schedule(4)
    assert schedule.warmup == pytest.approx(0.2)
    assert schedule.factor(0.1) == pytest.approx(0.5 * 0.5 * (1 + math.cos(math.pi / 40)))
    assert schedule.factor(2.0) == pytest.approx(0.5)
    assert schedule.factor(4.0) == pytest.approx(0.0)
    assert Schedule(100).warmup == 1.0


def test_learning_rates_follow_the_layers():
    optimizer = build_optimizer(Small(), GROUPS, Recipe(layer_decay=0.5, weight_decay=0.0))
    set_learning_rate(optimizer, 0.8)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == pytest.approx([0.1, 0.2, 0.4, 0.8])


@pytest.mark.parametrize(
    ("recipe", "kind", "nesterov", "states"),
    [
        (Recipe(optimizer="adamw"), torch.optim.AdamW, None, {"exp_avg", "exp_avg_sq", "step"}),
        (Recipe(optimizer="sgd", momentum=0.5), torch.optim.SGD, True, {"momentum_buffer"}),
        (Recipe(optimizer="sgd", momentum=0.0), torch.optim.SGD, False, set()),
    ],
)
def test_the_optimiser_and_what_it_remembers(recipe, kind, nesterov, states):
    module = Small()
    optimizer = build_optimizer(module, GROUPS, recipe)
    step(module, optimizer)
    assert type(optimizer) is kind
    assert optimizer.defaults.get("nesterov") is nesterov
    assert {path.split("/")[0] for path in optimizer_tensors(optimizer, module)} == states


def step(module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x = torch.linspace(-1, 1, 4 * 3 * 8 * 8).reshape(4, 3, 8, 8)
    optimizer.zero_grad()
    module.eval()(x).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_restored_optimiser_steps_as_the_original(optimizer):
    recipe = Recipe(optimizer=optimizer, learning_rate=0.01)
    module = Small().to(memory_format=torch.channels_last)
    original = build_optimizer(module, GROUPS, recipe)
    step(module, original)
    twin = Small()
    twin.load_state_dict({k: v.contiguous().clone() for k, v in module.state_dict().items()})
    twin = twin.to(memory_format=torch.channels_last)
    again = build_optimizer(twin, GROUPS, recipe)
    restore_optimizer(again, twin, optimizer_tensors(original, module))
    step(module, original)
    step(twin, again)
    for name, value in module.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name


@pytest.mark.parametrize("path", ["exp_avg/nowhere.weight", "exp_avg/head.weight"])
def test_a_state_of_another_network_is_refused(path):
    module = Small()
    optimizer = build_optimizer(module, GROUPS, Recipe())
    with pytest.raises(CheckpointError, match=f"'{path}' of shape \\(3, 4\\) fits no trained parameter"):
        restore_optimizer(optimizer, module, {path: torch.zeros(3, 4)})
