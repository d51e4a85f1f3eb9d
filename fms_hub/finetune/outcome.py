"""What training one epoch leaves behind, and the plain way to get there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from fms_hub.finetune.checkpoint import Checkpoint
from fms_hub.finetune.epoch import EpochPlan, Stage, Trained, train_epoch
from fms_hub.finetune.gallery import Feed
from fms_hub.finetune.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from fms_hub.models.zoo import layer_groups


@dataclass(frozen=True)
class Outcome:
    """A network after one more epoch.

    Attributes:
        module: the plain network, on its device.
        trained: loss and number of images.
        optimizer: the optimiser's tensors, see `fms_hub.finetune.checkpoint`.
        tuning: what self-tuning needs to go on; empty without it.
        tuned: the hyperparameters that were tuned, by name; empty without it.
    """

    module: nn.Module
    trained: Trained
    optimizer: Mapping[str, Tensor]
    tuning: Mapping[str, Tensor] = field(default_factory=dict)
    tuned: Mapping[str, float] = field(default_factory=dict)


def plain_epoch(
    module: nn.Module, feed: Feed, stage: Stage, plan: EpochPlan, before: Checkpoint | None
) -> Outcome:
    """Train one epoch in place, with the optimiser's state of the epoch before.

    Raises:
        FloatingPointError: the loss or a weight is not finite any more.
        CheckpointError: the optimiser's state does not fit the network.
    """
    optimizer = build_optimizer(module, layer_groups(module), plan.recipe)
    if before is not None:
        restore_optimizer(optimizer, module, before.optimizer)
    trained = train_epoch(module, optimizer, feed, stage, plan)
    return Outcome(module, trained, optimizer_tensors(optimizer, module))
