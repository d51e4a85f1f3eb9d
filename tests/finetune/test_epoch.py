from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fms_hub.finetune.batches import Batch
from fms_hub.finetune.epoch import EpochPlan, Stage, probabilities, train_epoch
from fms_hub.finetune.gallery import Feed
from fms_hub.finetune.optimizer import Schedule
from fms_hub.finetune.recipe import Recipe
from fms_hub.models.model import InputSpec

STAGE = Stage(
    InputSpec(1, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear", 1.0),
    torch.device("cpu"),
    torch.contiguous_format,
)


class Linear(nn.Module):
    """One pixel to two classes, from zero weights; ``offset`` is added to the first logit of white pixels."""

    def __init__(self, offset: float = 0.0) -> None:
        super().__init__()
        self.head = nn.Linear(3, 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x.flatten(1))
        white = (x.flatten(1) == 1).all(dim=1)
        return torch.where(white[:, None], logits + self.offset, logits)


def feed(values: list[int], labels: list[int], batch: int) -> Feed:
    pixels = torch.tensor(values, dtype=torch.uint8).reshape(-1, 1, 1, 1).expand(-1, 3, 1, 1)
    parts = zip(pixels.split(batch), torch.tensor(labels).split(batch), strict=True)
    return Feed(-(-len(values) // batch), (Batch(p, y) for p, y in parts))


def sgd(module: nn.Module, learning_rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD([{"params": list(module.parameters()), "lr_scale": 1.0}], lr=learning_rate)


def test_one_step_by_hand():
    module = Linear()
    recipe = Recipe(optimizer="sgd", learning_rate=0.1, label_smoothing=0.2)
    trained = train_epoch(module, sgd(module), feed([255, 0], [0, 1], 2), STAGE, EpochPlan(recipe, 1, 1, 0))
    assert trained.images == 2
    assert trained.loss == pytest.approx(np.log(2))
    # The gradient of the mean loss: probabilities are 1/2, smoothed targets 0.9 and 0.1.
    gradient = (0.5 - 0.9) / 2
    step = 0.1 * Schedule(1).factor(0.5)
    expected = torch.tensor([[1.0] * 3, [-1.0] * 3]) * -step * gradient
    torch.testing.assert_close(module.head.weight.detach(), expected)
    torch.testing.assert_close(module.head.bias.detach(), torch.zeros(2))


def test_large_gradients_are_clipped_to_norm_one():
    module = Linear()
    with torch.no_grad():
        module.head.weight[0] = 1000.0
    before = torch.cat([p.detach().flatten().clone() for p in module.parameters()])
    recipe = Recipe(optimizer="sgd", learning_rate=1.0)
    train_epoch(module, sgd(module), feed([255, 255], [1, 1], 2), STAGE, EpochPlan(recipe, 1, 1, 0))
    after = torch.cat([p.detach().flatten() for p in module.parameters()])
    assert float((after - before).norm()) == pytest.approx(Schedule(1).factor(0.5), rel=1e-3)


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_the_learning_rate_follows_the_schedule_over_the_epochs(epoch):
    module, recipe = Linear(), Recipe(optimizer="sgd", learning_rate=0.3)
    optimizer = sgd(module)
    train_epoch(
        module, optimizer, feed([0, 1, 2, 3, 4], [0, 1, 0, 1, 0], 2), STAGE, EpochPlan(recipe, epoch, 4, 0)
    )
    last_step = epoch - 1 + 2.5 / 3
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.3 * Schedule(4).factor(last_step))


def test_the_mean_loss_weighs_every_image_alike():
    module = Linear()
    values, labels = [10, 20, 30, 40, 250], [0, 1, 0, 1, 1]
    with torch.no_grad():
        module.head.weight[0] = 2.0
        pixels = torch.tensor(values).reshape(-1, 1).expand(-1, 3) / 255
        expected = float(cross_entropy(module(pixels), torch.tensor(labels)))
    plan = EpochPlan(Recipe(optimizer="sgd", learning_rate=1e-9), 1, 1, 0)
    assert train_epoch(module, sgd(module), feed(values, labels, 2), STAGE, plan).loss == pytest.approx(
        expected
    )


def test_a_loss_that_is_not_finite_in_the_last_step_is_noticed_though_the_weights_are():
    module, elsewhere = Linear(offset=float("inf")), nn.Linear(1, 1)
    plan = EpochPlan(Recipe(optimizer="sgd"), 3, 3, 0)
    with pytest.raises(FloatingPointError, match="the training loss of epoch 3 is not finite"):
        train_epoch(module, sgd(elsewhere), feed([0, 0, 255, 255], [0, 1, 0, 1], 2), STAGE, plan)


def test_a_weight_that_is_not_finite_is_named():
    module = Linear()
    module.register_buffer("mean", torch.tensor(float("nan")))
    with pytest.raises(FloatingPointError, match="the tensor mean after epoch 1 is not finite"):
        train_epoch(module, sgd(module), feed([0, 1], [0, 1], 2), STAGE, EpochPlan(Recipe(), 1, 1, 0))


def test_probabilities_come_in_order_and_in_evaluation_mode():
    module = nn.Sequential(Linear(), nn.Dropout(0.9)).train()
    with torch.no_grad():
        module[0].head.weight[0] = 5.0
    found = probabilities(module, feed([0, 51, 255], [0, 0, 0], 2), STAGE)
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp([0.0, -3.0, -15.0])), rtol=1e-5)
    assert found.dtype == np.float32
