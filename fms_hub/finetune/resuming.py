"""Going on from a checkpoint: only ever from the epoch before, of the same run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from torch import Tensor, nn

from fms_hub.errors import CheckpointError, UsageError
from fms_hub.finetune import checkpoint
from fms_hub.finetune.checkpoint import Checkpoint, RunState
from fms_hub.records import Candidate

_SAME: Final = ("candidate", "fingerprint", "recipe", "horizon")
_OPTIMIZED: Final = ("optimizer", "momentum", "frozen", "self_tuning")
"""Hyperparameters that decide which tensors an optimiser has."""


def check_position(epoch: int, horizon: int, previous: Path | None) -> None:
    """Refuse an epoch that does not follow the checkpoint it is given.

    Raises:
        UsageError: `epoch` is not in 1 .. horizon, or `previous` is missing, or given for epoch 1.
    """
    if not 1 <= epoch <= horizon:
        raise UsageError(f"epoch must lie in 1 .. horizon = {horizon}, found {epoch}.")
    if (previous is None) != (epoch == 1):
        found = "none" if previous is None else str(previous)
        raise UsageError(
            f"epoch {epoch} of a run goes on from the checkpoint of epoch {epoch - 1}; found {found}."
        )


def read_previous(folder: Path, state: RunState, *, forked: bool = False) -> Checkpoint:
    """The checkpoint of the epoch before `state`.

    A fork's may have another recipe: it then comes without the optimiser's state where that would not fit.

    Raises:
        CheckpointError: it is damaged, of another candidate, recipe or horizon, or not one epoch earlier.
    """
    before = checkpoint.read(folder)
    for what in ("candidate", "fingerprint", "horizon") if forked else _SAME:
        found, expected = getattr(before.state, what), getattr(state, what)
        if found != expected:
            raise CheckpointError(f"the checkpoint {folder} has {what} {found!r}, this run has {expected!r}.")
    if before.state.epoch != state.epoch - 1:
        raise CheckpointError(
            f"epoch {state.epoch} goes on from epoch {state.epoch - 1}; "
            f"{folder} is of epoch {before.state.epoch}."
        )
    kept = all(before.state.recipe.get(name) == state.recipe.get(name) for name in _OPTIMIZED)
    return before if kept else replace(before, optimizer={}, tuning={})


def read_weights_of(folder: Path, candidate: Candidate) -> Mapping[str, Tensor]:
    """The weights of a checkpoint.

    Raises:
        CheckpointError: it is damaged, or of another candidate.
    """
    weights, state = checkpoint.read_weights(folder)
    if state.candidate != candidate.name:
        raise CheckpointError(f"the checkpoint {folder} is of {state.candidate}, not of {candidate.name}.")
    return weights


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], name: str) -> None:
    """Fill a candidate's network from a checkpoint.

    Raises:
        CheckpointError: a tensor is absent, left over or of another shape.
    """
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint does not fit {name}: {error}") from error
