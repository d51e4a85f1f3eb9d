"""One epoch of a self-tuning run: plain networks and checkpoints go in and come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.errors import CheckpointError
from fms_hub.finetune.batches import Batch
from fms_hub.finetune.checkpoint import Checkpoint
from fms_hub.finetune.epoch import EpochPlan, Stage, Trained, run_steps
from fms_hub.finetune.gallery import Feed
from fms_hub.finetune.optimizer import (
    LayerGroups,
    Schedule,
    build_optimizer,
    optimizer_tensors,
    restore_optimizer,
    train_mode,
)
from fms_hub.finetune.outcome import Outcome
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.self_tuning.convert import Hyper
from fms_hub.finetune.self_tuning.hyperparameters import TUNABLES
from fms_hub.finetune.self_tuning.network import SelfTuning, fold, self_tuning
from fms_hub.finetune.self_tuning.steps import build_tuner, train_on, tune_on
from fms_hub.models.model import Model
from fms_hub.models.zoo import layer_groups

INTERVAL = 2
"""Steps of the weights for each step of the hyperparameters."""


@dataclass(frozen=True)
class Feeds:
    """One pass over the images to train on, and images to tune on without end."""

    training: Feed
    tuning: Iterator[Batch]


def tuned_epoch(
    module: nn.Module, feeds: Feeds, stage: Stage, plan: EpochPlan, before: Checkpoint | None, *, quiet: bool
) -> Outcome:
    """Train and tune one epoch.

    The hyperparameters rest while the learning rate rises: until then the weights hardly respond to them.

    Args:
        module: plain, on the stage's device, with the weights to start from; it is left as it is.
        feeds: the images.
        stage: where batches meet the network.
        plan: which epoch.
        before: the epoch before, whose tensors of self-tuning it takes over; None starts anew.
        quiet: whether layers that cannot be converted are not named.

    Raises:
        FloatingPointError: the loss, a weight or a hyperparameter is not finite any more.
        CheckpointError: the checkpoint does not fit the network.
        CandidateError: no layer can be converted.
    """
    network = responsive(module, stage, plan.recipe, quiet=quiet)
    optimizer = build_optimizer(network.network, groups_with_response(module, network), plan.recipe)
    tuner = build_tuner(network.hyperparameters)
    if before is not None and before.tuning:
        restore(network, tuner, before.tuning)
        restore_optimizer(optimizer, network.network, before.optimizer)
    trained = _train(network, optimizer, tuner, feeds, stage, plan)
    return Outcome(
        fold(network),
        trained,
        optimizer_tensors(optimizer, network.network),
        tensors(network, tuner),
        network.hyperparameters.values(),
    )


def responsive(module: nn.Module, stage: Stage, recipe: Recipe, *, quiet: bool) -> SelfTuning:
    """The self-tuning network of a recipe, whose dropout is where tuning that begins, if it is not zero."""
    starts = {"dropout": max(recipe.dropout, TUNABLES["dropout"].start)}
    network = self_tuning(Model(module, stage.spec), starts=starts, quiet=quiet)
    return network.to(memory_format=stage.layout)


def groups_with_response(module: nn.Module, network: SelfTuning) -> LayerGroups:
    """The layer groups of the plain network, with each layer's response in the group of its weight."""
    added = {
        f"{path}.weight" if path else "weight": [
            f"{path}.{name}" if path else name for name, _ in layer.named_parameters() if "response_" in name
        ]
        for path, layer in network.network.named_modules()
        if isinstance(layer, Hyper)
    }
    return [
        [*group, *(new for name in group for new in added.get(name, ()))] for group in layer_groups(module)
    ]


def added_bytes(module: nn.Module, stage: Stage, recipe: Recipe, copies: int) -> int:
    """Bytes that self-tuning adds to a checkpoint: its tensors, and the optimiser's state of the response.

    Args:
        module: the plain network; only what is trained of it counts.
        stage: where batches meet the network.
        recipe: of the run.
        copies: tensors that the optimiser keeps of each parameter.
    """
    network = responsive(module, stage, recipe, quiet=True)
    state = network.network.state_dict()
    kept: int = sum(state[key].nbytes for key in _converted_keys(network))
    response: int = sum(p.nbytes for name, p in network.network.named_parameters() if "response_" in name)
    return kept + copies * response


def tensors(network: SelfTuning, tuner: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What self-tuning needs of itself to go on, on the CPU.

    ``network/KEY`` of the converted layers, ``hyperparameters/KEY``, ``tuner/STATE/KEY``.
    """
    state = network.network.state_dict()
    kept = {f"network/{key}": state[key] for key in _converted_keys(network)}
    kept |= {f"hyperparameters/{key}": value for key, value in network.hyperparameters.state_dict().items()}
    kept |= {
        f"tuner/{key}": value for key, value in optimizer_tensors(tuner, network.hyperparameters).items()
    }
    return {key: value.detach().to("cpu", copy=True).contiguous() for key, value in kept.items()}


def restore(network: SelfTuning, tuner: torch.optim.Optimizer, flat: Mapping[str, Tensor]) -> None:
    """Put the tensors of `tensors` back; all else of the network stays.

    Raises:
        CheckpointError: one is absent, left over or of another shape.
    """
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "hyperparameters": {}, "tuner": {}}
    for path, value in flat.items():
        part, _, key = path.partition("/")
        parts.setdefault(part, {})[key] = value
    expected = _converted_keys(network)
    found = parts["network"].keys()
    if set(found) != set(expected) or len(parts) > 3:
        wrong = sorted(set(found) ^ set(expected)) + list(parts)[3:]
        raise CheckpointError(
            f"the self-tuning state must hold every tensor of the converted layers and no other; "
            f"{len(wrong)} do not fit, {wrong[0]!r} for one. The checkpoint belongs to another architecture "
            "or recipe. Train this run again."
        )
    try:
        network.network.load_state_dict({**network.network.state_dict(), **parts["network"]})
        network.hyperparameters.load_state_dict(parts["hyperparameters"])
    except RuntimeError as error:
        raise CheckpointError(f"the self-tuning state does not fit the network: {error}") from error
    restore_optimizer(tuner, network.hyperparameters, parts["tuner"])


def _converted_keys(network: SelfTuning) -> Sequence[str]:
    """State dict keys of the converted layers."""
    return [
        f"{path}.{key}" if path else key
        for path, layer in network.network.named_modules()
        if isinstance(layer, Hyper)
        for key in layer.state_dict()
    ]


def _train(
    network: SelfTuning,
    optimizer: torch.optim.Optimizer,
    tuner: torch.optim.Optimizer,
    feeds: Feeds,
    stage: Stage,
    plan: EpochPlan,
) -> Trained:
    warmup, steps = Schedule(plan.horizon).warmup, feeds.training.steps
    generator = torch.Generator().manual_seed(plan.seed)

    def step_on(step: int, batch: Batch, progress: float) -> Tensor:
        train_mode(network)
        loss = train_on(network, optimizer, batch, stage, plan.recipe, generator, plan.seed + step)
        # Counted over the whole run, so that epochs of a single step are tuned too.
        turn = ((plan.epoch - 1) * steps + step) % INTERVAL == INTERVAL - 1
        if turn and progress > warmup:
            tune_on(network, tuner, next(feeds.tuning), stage, generator)
        return loss

    return run_steps(network, optimizer, feeds.training, stage, plan, step_on)
