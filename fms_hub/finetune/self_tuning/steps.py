"""The two kinds of step that alternate: weights on training images, hyperparameters on held-out ones.

MacKay et al., 2019, algorithm 1. B = batch, h = hyperparameters.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fms_hub.finetune.batches import Batch
from fms_hub.finetune.epoch import GRADIENT_NORM, Stage
from fms_hub.finetune.optimizer import trained_by
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.self_tuning.augment import cut_out, jittered
from fms_hub.finetune.self_tuning.hyperparameters import Hyperparameters
from fms_hub.finetune.self_tuning.network import SelfTuning
from fms_hub.finetune.transforms import erase

TUNING_RATE = 0.03
"""Learning rate of Adam in the unconstrained space, where 1 takes a share of 1/2 to 0.73."""
ENTROPY_WEIGHT = 1e-3
"""Nats of the tuning loss that one nat of the perturbations' entropy is worth."""


def build_tuner(hyperparameters: Hyperparameters, rate: float = TUNING_RATE) -> torch.optim.Optimizer:
    """Adam over the centre and the spread of the hyperparameters."""
    return torch.optim.Adam(hyperparameters.parameters(), lr=rate)


def tuning_step(
    hyperparameters: Hyperparameters,
    tuner: torch.optim.Optimizer,
    loss_at: Callable[[Tensor], Tensor],
    examples: int,
    generator: torch.Generator,
    *,
    entropy_weight: float = ENTROPY_WEIGHT,
) -> Tensor:
    """Move centre and spread down the held-out loss, less the weighted entropy; weights get no gradient.

    Args:
        hyperparameters: moved in place.
        tuner: over them.
        loss_at: the mean held-out loss, without regularisation, at each example's hyperparameters (B, h).
        examples: B.
        generator: of the perturbations, on the CPU.
        entropy_weight: >= 0.

    Returns:
        The held-out loss, detached.
    """
    loss = loss_at(hyperparameters.perturbed(examples, generator))
    moved = list(hyperparameters.parameters())
    slopes = torch.autograd.grad(loss - entropy_weight * hyperparameters.entropy(), moved)
    for parameter, slope in zip(moved, slopes, strict=True):
        parameter.grad = slope
    tuner.step()
    hyperparameters.keep_within_reach()
    return loss.detach()


def tune_on(
    network: SelfTuning, tuner: torch.optim.Optimizer, batch: Batch, stage: Stage, generator: torch.Generator
) -> Tensor:
    """A tuning step on one batch of held-out images, seen as validation sees them."""
    network.eval()
    pixels, labels = stage.pixels(batch.pixels), batch.labels.to(stage.device)

    def loss_at(unconstrained: Tensor) -> Tensor:
        with stage.autocast():
            logits = network(pixels, unconstrained)
        return cross_entropy(logits.float(), labels)

    return tuning_step(network.hyperparameters, tuner, loss_at, len(pixels), generator)


def train_on(
    network: SelfTuning,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    stage: Stage,
    recipe: Recipe,
    generator: torch.Generator,
    seed: int,
) -> Tensor:
    """A step of the weights on one batch, each image at its own perturbed hyperparameters.

    Gives the mean loss of the batch, detached. The network must be in training mode.
    """
    with torch.no_grad():
        unconstrained = network.hyperparameters.perturbed(len(batch.pixels), generator)
        pixels = _augmented(batch.pixels, network.hyperparameters.applied(unconstrained), stage, generator)
        erase(pixels, recipe.augmentation, seed)
    optimizer.zero_grad(set_to_none=True)
    with stage.autocast():
        logits = network(pixels, unconstrained, drop=True)
    labels = batch.labels.to(stage.device)
    loss = cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
    (loss + penalty(network, unconstrained)).backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(trained_by(optimizer), GRADIENT_NORM)
    optimizer.step()
    return loss.detach()


def _augmented(raw: Tensor, strengths: dict[str, Tensor], stage: Stage, generator: torch.Generator) -> Tensor:
    """Pixels uint8 (B, 3, S, S) as the network's input, each image changed at its own strengths."""
    images = jittered(raw.to(stage.device).float() / 255, strengths, generator)
    pixels = stage.pixels(images * 255)
    if "cutout_length" not in strengths and "cutout_number" not in strengths:
        return pixels
    lengths = strengths.get("cutout_length", pixels.new_full((len(pixels),), _LENGTH))
    numbers = strengths.get("cutout_number", pixels.new_ones(len(pixels)))
    return cut_out(pixels, lengths, numbers, generator)


_LENGTH = 0.5
"""Side of the squares where only their number is tuned, as DeVries and Taylor (2017) cut them."""


def penalty(network: SelfTuning, unconstrained: Tensor) -> Tensor:
    """Half the weight decay times the squared norm, mean over the batch; 0 where it is not tuned."""
    decay = network.hyperparameters.applied(unconstrained).get("weight_decay")
    if decay is None:
        return unconstrained.new_zeros(())
    return 0.5 * (decay * network.squared_norm(unconstrained)).mean()
