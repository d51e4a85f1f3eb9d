"""The records that travel between the rooms: frozen, plain, no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fms_hub.errors import BudgetError

Value = str | int | float | bool
"""What one hyperparameter can be."""

Status = Literal["ok", "failed"]


@dataclass(frozen=True)
class Candidate:
    """A checkpoint that could be fine-tuned.

    Attributes:
        name: what identifies it within a search and in every log, e.g. ``timm/resnet18.a1_in1k``.
        source: which loader opens it (see `fms_hub.models.zoo`).
        architecture: timm architecture name, transformers model type, or class name of a module.
        location: Hub repository id or absolute folder; None for modules and random initialisation.
        revision: the commit hash a Hub repository is pinned to, else None.
        fingerprint: changes whenever the weights change (commit hash or sha256 of the weights).
        module: the user's own module where the source is ``"module"``.
    """

    name: str
    source: Literal["timm", "transformers", "folder", "scratch", "module"]
    architecture: str
    location: str | None = None
    revision: str | None = None
    fingerprint: str = ""
    module: Any = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class TaskInfo:
    """What a search knows of a dataset without looking at the images again.

    Attributes:
        name: what the user called the dataset.
        fingerprint: sha256 over the images, labels and splits.
        classes: class names, index = label.
        sizes: images per split, ``{"train": n, "validation": n, "test": n}``.
        features: meta-features, finite floats by name (see `fms_hub.tasks.features`).
    """

    name: str
    fingerprint: str
    classes: tuple[str, ...]
    sizes: Mapping[str, int]
    features: Mapping[str, float]


@dataclass(frozen=True)
class Parent:
    """Whose checkpoint a run goes on from: run ``run`` after epoch ``epoch``."""

    run: int
    epoch: int


@dataclass(frozen=True)
class Proposal:
    """One more epoch of one run, to be trained next.

    Attributes:
        run: number of the run, from 0.
        candidate: name of the candidate.
        hyperparameters: the configuration's active hyperparameters.
        epoch: the epoch to train now, 1 .. horizon; all before it have been observed.
        horizon: epochs of a full run; schedules end there.
        parent: of a fork, which begins with the epoch after its parent's; None for other runs.
    """

    run: int
    candidate: str
    hyperparameters: Mapping[str, Value]
    epoch: int
    horizon: int
    parent: Parent | None = None

    @property
    def previous(self) -> Parent | None:
        """Whose checkpoint the epoch goes on from, its own run's or its parent's; None at epoch 1."""
        if self.epoch == 1:
            return None
        if self.parent is not None and self.epoch == self.parent.epoch + 1:
            return self.parent
        return Parent(self.run, self.epoch - 1)


@dataclass(frozen=True)
class Observation:
    """One row of the log: a run after one epoch.

    Attributes:
        run, candidate, hyperparameters, epoch, horizon: as in the `Proposal` that was followed.
        score: validation score in [0, 1], higher is better; None exactly if the epoch failed.
        train_loss: mean training loss of the epoch, nats; None if unknown.
        seconds: wall-clock time of training and validating, >= 0.
        overhead: wall-clock seconds spent on proposing, sketching and saving around it, >= 0.
        images: training images that the epoch saw; None if unknown.
        status: ``"ok"`` or ``"failed"``; a failed run is never proposed again.
        reason: why it failed, else None.
        checkpoint: name of the checkpoint folder below the search's folder, or None.
        sketch: name of the file with the sketch of the new weights, or None.
        parent: as in the proposal.

    Raises:
        ValueError: score, status, seconds or overhead are outside these ranges, or the parent's epoch is not
            before this one, in another run.
    """

    run: int
    candidate: str
    hyperparameters: Mapping[str, Value]
    epoch: int
    horizon: int
    score: float | None
    train_loss: float | None = None
    seconds: float = 0.0
    overhead: float = 0.0
    images: int | None = None
    status: Status = "ok"
    reason: str | None = None
    checkpoint: str | None = None
    sketch: str | None = None
    parent: Parent | None = None

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.score is not None):
            raise ValueError("a score belongs to an epoch that is ok, and to no other")
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score lies in [0, 1], higher is better; found {self.score}")
        for name in ("seconds", "overhead"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be finite and at least 0, found {value}")
        parent = self.parent
        if parent is not None and not (1 <= parent.epoch < self.epoch and parent.run != self.run):
            raise ValueError(f"epoch {self.epoch} of run {self.run} cannot go on from {parent}")


@dataclass(frozen=True)
class Probe:
    """One look at a candidate on a task before any training: its fidelity 0.

    Attributes:
        candidate: name of the candidate.
        logme, h_score, knn, linear: see `fms_hub.surrogate.probes.ProbeScores`.
        images: of the task that the candidate was shown, >= 1.
        seconds: wall-clock time it took, >= 0.

    Raises:
        ValueError: a number is not finite or out of its range.
    """

    candidate: str
    logme: float
    h_score: float
    knn: float
    linear: float
    images: int
    seconds: float = 0.0

    def __post_init__(self) -> None:
        ranges = {"logme": -math.inf, "h_score": 0.0, "knn": 0.0, "linear": 0.0, "images": 1, "seconds": 0.0}
        for name, low in ranges.items():
            value = getattr(self, name)
            high = 1.0 if name in ("knn", "linear") else math.inf
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} of a probe must lie in [{low:g}, {high:g}], found {value}")


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_BUDGET = re.compile(
    r"(?P<number>[0-9]*\.?[0-9]+)\s*"
    r"(?P<unit>epochs?|s|sec|secs|seconds?|m|mins?|minutes?|h|hours?|d|days?)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Budget:
    """What a search may spend in all; whichever limit is reached first ends it.

    Attributes:
        epochs: number of epochs over all runs, > 0, or None for no such limit.
        seconds: wall-clock seconds, > 0, or None for no such limit.

    Raises:
        BudgetError: both limits are absent, or one is not a positive finite number.
    """

    epochs: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is None and self.seconds is None:
            raise BudgetError("a budget needs epochs, seconds or both; found neither. Try Budget(epochs=40).")
        for name, value in (("epochs", self.epochs), ("seconds", self.seconds)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise BudgetError(
                    f"a budget's {name} must be a positive number, found {value}. Try '40 epochs' or '20m'."
                )
        if self.epochs is not None and self.epochs != int(self.epochs):
            raise BudgetError(f"a budget's epochs must be a whole number, found {self.epochs}.")

    @classmethod
    def parse(cls, text: str | Budget) -> Budget:
        """Read ``"40 epochs"``, ``"20m"``, ``"1.5h"`` or ``"90s"``; a Budget passes through.

        Raises:
            BudgetError: the text is none of these.
        """
        if isinstance(text, Budget):
            return text
        match = _BUDGET.fullmatch(str(text).strip())
        if match is None:
            raise BudgetError(f"a budget reads like '40 epochs', '20m', '1.5h' or '90s'; found {text!r}.")
        number, unit = float(match["number"]), match["unit"].lower()
        if unit.startswith("epoch"):
            if number != int(number):
                raise BudgetError(f"a budget's epochs must be a whole number, found {match['number']}.")
            return cls(epochs=int(number))
        return cls(seconds=number * _UNITS[unit[0]])

    def __str__(self) -> str:
        parts = [f"{self.epochs} epochs"] if self.epochs is not None else []
        parts += [f"{self.seconds:g} seconds"] if self.seconds is not None else []
        return " or ".join(parts)
