from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch.nn.functional import cross_entropy

from fms_hub.finetune.batches import Batch
from fms_hub.finetune.epoch import Stage
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.self_tuning.layers import HyperConv2d, HyperLinear
from fms_hub.finetune.self_tuning.network import SelfTuning, self_tuning
from fms_hub.finetune.self_tuning.steps import build_tuner, penalty, train_on, tune_on
from fms_hub.models.model import InputSpec, Model

SPEC = InputSpec(32, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
STAGE = Stage(SPEC, torch.device("cpu"), torch.contiguous_format)


def network_of(*tune: str) -> SelfTuning:
    torch.manual_seed(0)
    return self_tuning(Model(timm.create_model("test_resnet", num_classes=4), SPEC), tune)


def batch() -> Batch:
    draw = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (8, 3, 32, 32), generator=draw, dtype=torch.uint8)
    return Batch(pixels, torch.randint(0, 4, (8,), generator=draw))


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(2)


def test_a_tuning_step_sees_images_as_validation_does_and_moves_hyperparameters_alone():
    network = network_of("dropout", "brightness")
    for name, parameter in network.network.named_parameters():
        if "response_gain" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=draw())
    before = copy.deepcopy(network.state_dict())
    loss = tune_on(network.train(), build_tuner(network.hyperparameters), batch(), STAGE, draw())
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"hyperparameters.centre", "hyperparameters.raw_spread"}
    network.load_state_dict(before)
    at = network.hyperparameters.perturbed(8, draw())
    with torch.no_grad():
        expected = cross_entropy(network.eval()(STAGE.pixels(batch().pixels), at), batch().labels)
    torch.testing.assert_close(loss, expected)


def test_a_training_step_moves_weights_alone_and_returns_the_loss_of_what_it_saw():
    network = network_of("brightness").train()
    optimizer = torch.optim.SGD(network.network.parameters(), lr=0.1)
    before = copy.deepcopy(network.state_dict())
    recipe = Recipe(label_smoothing=0.1)
    loss = train_on(network, optimizer, batch(), STAGE, recipe, draw(), 0)
    after = network.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("hyperparameters") for name in moved)
    assert {"network.fc.weight", "network.fc.response_gain", "network.fc.response_shift"} <= moved
    # W' waits for V, which is zero in the first step.
    assert "network.fc.response_weight" not in moved
    network.load_state_dict(before)
    torch.testing.assert_close(loss, train_on(network, optimizer, batch(), STAGE, recipe, draw(), 0))
    network.load_state_dict(before)
    other = train_on(network, optimizer, batch(), STAGE, recipe, torch.Generator().manual_seed(3), 0)
    assert float(other) != float(loss)


@pytest.mark.parametrize(
    ("tuned", "high"), [("dropout", 0.9), ("hue", 0.5), ("cutout_length", 0.7), ("cutout_number", 4.0)]
)
def test_each_regularisation_is_at_work_where_it_is_strong(tuned, high):
    losses = []
    for start in (high, 0.0):
        network = network_of(tuned)
        network.hyperparameters.centre.data.fill_(network.hyperparameters.tunables[0].unconstrain(start))
        optimizer = torch.optim.SGD(network.network.parameters(), lr=0.0)
        losses.append(float(train_on(network.train(), optimizer, batch(), STAGE, Recipe(), draw(), 0)))
    assert losses[0] != pytest.approx(losses[1], rel=1e-3)


def test_tuned_weight_decay_is_half_of_it_times_the_squares_of_the_converted_weights():
    network = network_of("weight_decay")
    at = torch.tensor([[0.0], [-100.0], [100.0], [-100.0]])  # the middle, 1e-7 and 1e-1
    squares = sum(
        float(layer.weight.detach().square().sum())
        for layer in network.network.modules()
        if isinstance(layer, HyperConv2d | HyperLinear)
    )
    decays = (1e-4 + 1e-7 + 1e-1 + 1e-7) / 4
    assert float(penalty(network, at).detach()) == pytest.approx(0.5 * decays * squares, rel=1e-4)
    assert float(penalty(network_of("hue"), at)) == 0
