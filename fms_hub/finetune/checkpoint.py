"""Checkpoints: a folder that holds a run after one epoch, written atomically, read strictly.

weights.safetensors     the module's state dict
optimizer.safetensors   the optimiser's tensors, ``<state>/<parameter>``, e.g. ``exp_avg/head.fc.weight``
self_tuning.safetensors where it is used: what `fms_hub.finetune.self_tuning.run.tensors` needs to go on
state.json              what run this is, and the sha256 of these files
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.records import Value

FORMAT_VERSION = 1
WEIGHTS, OPTIMIZER, STATE = "weights.safetensors", "optimizer.safetensors", "state.json"
TUNING = "self_tuning.safetensors"
_ADVICE = "Remove this checkpoint; its run can be trained again."


@dataclass(frozen=True)
class RunState:
    """What run a checkpoint belongs to and how far it has come.

    Attributes:
        candidate: name of the candidate.
        fingerprint: of the candidate's own weights.
        recipe: all hyperparameters, defaults included.
        run: number of the run within its search.
        epoch: epochs that are behind it, 1 .. horizon.
        horizon: epochs of the full run, where the schedule ends.
        seed: seed of the search.
    """

    candidate: str
    fingerprint: str
    recipe: Mapping[str, Value]
    run: int
    epoch: int
    horizon: int
    seed: int


@dataclass(frozen=True)
class Checkpoint:
    """A run after one epoch: CPU tensors by name, and its state; `tuning` is empty without self-tuning."""

    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: RunState
    tuning: Mapping[str, Tensor] = field(default_factory=dict)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint so that ``folder`` is at any moment absent, the old one, or whole.

    Raises:
        StorageError: the disk is full, or the folder cannot be written.
    """
    building = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        building.mkdir()
        _fill(building, checkpoint)
        _swap(building, folder)
    except OSError as error:
        shutil.rmtree(building, ignore_errors=True)
        raise StorageError(
            f"expected to write the checkpoint {folder}, but: {error.strerror or error}. "
            "Free some space (or choose another output folder) and run the same command again."
        ) from error


def read(folder: Path) -> Checkpoint:
    """Read a checkpoint, believing nothing that does not fit its state.

    Raises:
        CheckpointError: a file is missing or damaged, or the format is of another version.
    """
    state, digests = _read_state(folder)
    tuning = _tensors(folder, TUNING, digests) if TUNING in digests else {}
    return Checkpoint(_tensors(folder, WEIGHTS, digests), _tensors(folder, OPTIMIZER, digests), state, tuning)


def read_weights(folder: Path) -> tuple[Mapping[str, Tensor], RunState]:
    """Weights and state alone, as strictly as `read`; for whoever does not go on training."""
    state, digests = _read_state(folder)
    return _tensors(folder, WEIGHTS, digests), state


def _fill(folder: Path, checkpoint: Checkpoint) -> None:
    files = {WEIGHTS: checkpoint.weights, OPTIMIZER: checkpoint.optimizer}
    if checkpoint.tuning:
        files[TUNING] = checkpoint.tuning
    digests = {
        name: _write_file(folder / name, safetensors.torch.save(dict(tensors), {"format": "pt"}))
        for name, tensors in files.items()
    }
    state = {
        "format_version": FORMAT_VERSION,
        "sha256": digests,
        **{item.name: getattr(checkpoint.state, item.name) for item in fields(RunState)},
    }
    _write_file(folder / STATE, json.dumps(state, indent=1, allow_nan=False).encode())


def _write_file(path: Path, content: bytes) -> str:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _swap(building: Path, folder: Path) -> None:
    """Put the finished folder in place; a rename cannot replace a folder that is not empty."""
    _sync(building)
    if folder.exists():
        aside = building.with_suffix(".old")
        folder.rename(aside)
        building.rename(folder)
        shutil.rmtree(aside)
    else:
        building.rename(folder)
    _sync(folder.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_leftovers(folder: Path) -> None:
    """Clear what a killed process had begun under this name."""
    for pattern in (f".{folder.name}.*.part", f".{folder.name}.*.old"):
        for leftover in folder.parent.glob(pattern):
            shutil.rmtree(leftover)


def _read_state(folder: Path) -> tuple[RunState, Mapping[str, str]]:
    found = _parse_state(folder)
    version = found.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"the checkpoint {folder} has format version {version!r}, this fms_hub reads {FORMAT_VERSION}."
        )
    digests = found.pop("sha256", None)
    expected = {item.name for item in fields(RunState)}
    named = isinstance(digests, dict) and set(digests) - {TUNING} == {WEIGHTS, OPTIMIZER}
    if set(found) != expected or not named:
        raise CheckpointError(
            f"{folder / STATE} must hold sha256 of both files and {', '.join(sorted(expected))}; "
            f"found {', '.join(sorted(found))}. {_ADVICE}"
        )
    _check_position(folder, found)
    return RunState(**found), digests


def _check_position(folder: Path, found: Mapping[str, Any]) -> None:
    epoch, horizon, recipe = found["epoch"], found["horizon"], found["recipe"]
    if not isinstance(horizon, int) or not isinstance(epoch, int) or not 1 <= epoch <= horizon:
        raise CheckpointError(
            f"in {folder / STATE} epoch must be a whole number in 1 .. {horizon}, found {epoch!r}. {_ADVICE}"
        )
    if not isinstance(recipe, dict):
        raise CheckpointError(f"in {folder / STATE} recipe must be an object, found {recipe!r}. {_ADVICE}")


def _parse_state(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / STATE).read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint {folder} has no readable {STATE}: {error.strerror}."
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{folder / STATE} is not JSON: {error}. {_ADVICE}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{folder / STATE} must hold a JSON object, found {found!r}. {_ADVICE}")
    return found


def _tensors(folder: Path, name: str, digests: Mapping[str, str]) -> Mapping[str, Tensor]:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"the checkpoint {folder} has no readable {name}: {error.strerror}.") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != digests[name]:
        raise CheckpointError(
            f"{folder / name} is damaged: sha256 {digest}, expected {digests[name]}. {_ADVICE}"
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder / name} is not safetensors: {error}. {_ADVICE}") from error
