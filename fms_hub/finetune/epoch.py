"""One epoch of training, and one pass of evaluation, over a network that somebody else built.

B = batch, k = classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fms_hub.finetune.batches import Batch
from fms_hub.finetune.gallery import Feed
from fms_hub.finetune.optimizer import Schedule, set_learning_rate, train_mode, trained_by
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.transforms import erase, normalised
from fms_hub.models.model import InputSpec

GRADIENT_NORM = 1.0
"""Gradients are scaled down to at most this 2-norm over all parameters."""
CHECK_EVERY = 16
"""Steps between looks at the loss; each look waits for the device."""


@dataclass(frozen=True)
class Stage:
    """Where batches meet the network: its input specification, device and memory layout."""

    spec: InputSpec
    device: torch.device
    layout: torch.memory_format

    def pixels(self, raw: Tensor) -> Tensor:
        """uint8 (B, 3, S, S) as the network's input."""
        return normalised(raw, self.spec, self.device).contiguous(memory_format=self.layout)

    def autocast(self) -> torch.autocast:
        """Mixed precision in bfloat16 on GPUs that have it, else none."""
        cuda = self.device.type == "cuda"
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=cuda and torch.cuda.is_bf16_supported()
        )


@dataclass(frozen=True)
class Trained:
    """Mean training loss in nats per image, and the number of images."""

    loss: float
    images: int


@dataclass(frozen=True)
class EpochPlan:
    """Which epoch to train: its number (from 1) in a run of `horizon` epochs, its recipe and its seed."""

    recipe: Recipe
    epoch: int
    horizon: int
    seed: int


StepOn = Callable[[int, Batch, float], Tensor]
"""Trains on a batch, given the step's number and how many epochs of the run lie behind its middle; gives the
mean loss over the batch, detached."""


def train_epoch(
    module: nn.Module, optimizer: torch.optim.Optimizer, feed: Feed, stage: Stage, plan: EpochPlan
) -> Trained:
    """Train one epoch in place.

    Raises:
        FloatingPointError: the loss or a weight is not finite any more.
    """

    def step_on(step: int, batch: Batch, _progress: float) -> Tensor:
        pixels, labels = stage.pixels(batch.pixels), batch.labels.to(stage.device)
        erase(pixels, plan.recipe.augmentation, plan.seed + step)
        optimizer.zero_grad(set_to_none=True)
        with stage.autocast():
            logits = module(pixels)
        loss = cross_entropy(logits.float(), labels, label_smoothing=plan.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(trained_by(optimizer), GRADIENT_NORM)
        optimizer.step()
        return loss.detach()

    train_mode(module)
    return run_steps(module, optimizer, feed, stage, plan, step_on)


def run_steps(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    feed: Feed,
    stage: Stage,
    plan: EpochPlan,
    step_on: StepOn,
) -> Trained:
    """Go through one pass of the feed with the learning rates of the run's schedule.

    Raises:
        FloatingPointError: the loss or a weight is not finite any more.
    """
    schedule = Schedule(plan.horizon)
    total, images = torch.zeros((), device=stage.device), 0
    for step, batch in enumerate(feed.batches):
        progress = plan.epoch - 1 + (step + 0.5) / feed.steps
        set_learning_rate(optimizer, plan.recipe.learning_rate * schedule.factor(progress))
        total += step_on(step, batch, progress) * len(batch.pixels)
        images += len(batch.pixels)
        if step % CHECK_EVERY == 0:
            require_finite(total, f"the training loss in step {step + 1} of epoch {plan.epoch}")
    require_finite(total, f"the training loss of epoch {plan.epoch}")
    for name, value in module.state_dict().items():
        require_finite(value, f"the tensor {name} after epoch {plan.epoch}")
    return Trained(float(total) / images, images)


def probabilities(module: nn.Module, feed: Feed, stage: Stage) -> NDArray[np.float32]:
    """Class probabilities (n, k) of all images of a feed, in order."""
    module.eval()
    rows = []
    with torch.inference_mode(), stage.autocast():
        for batch in feed.batches:
            rows.append(module(stage.pixels(batch.pixels)).float().softmax(dim=1).cpu())
    found: NDArray[np.float32] = torch.cat(rows).numpy()
    return found


def require_finite(value: Tensor, what: str) -> None:
    """Raise FloatingPointError where a value of floats is not finite."""
    if value.is_floating_point() and not bool(value.isfinite().all()):
        raise FloatingPointError(f"{what} is not finite")
