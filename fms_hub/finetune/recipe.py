"""The recipe: every hyperparameter that fine-tuning can follow, with its range and default."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Literal

from fms_hub.errors import SpaceError
from fms_hub.records import Value

Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Interval:
    """A range of real numbers; ``low`` itself is allowed only where ``closed_below`` says so."""

    low: float
    high: float
    closed_below: bool = True

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.closed_below else value > self.low
        return math.isfinite(value) and above and value <= self.high

    def __str__(self) -> str:
        return f"{'[' if self.closed_below else '('}{self.low:g}, {self.high:g}]"


OPTIMIZERS: tuple[Optimizer, ...] = ("adamw", "sgd")

INTERVALS: Mapping[str, Interval] = {
    "learning_rate": Interval(0.0, 1e6, closed_below=False),
    "momentum": Interval(0.0, 0.999),
    "weight_decay": Interval(0.0, 10.0),
    "batch_size": Interval(2, 65536),
    "dropout": Interval(0.0, 0.95),
    "label_smoothing": Interval(0.0, 0.9),
    "layer_decay": Interval(0.0, 1.0, closed_below=False),
    "frozen": Interval(0.0, 1.0),
    "augmentation": Interval(0.0, 1.0),
}
"""What fine-tuning can follow at all; a search space is a sensible part of it."""


@dataclass(frozen=True)
class Recipe:
    """How a candidate is fine-tuned.

    Attributes:
        optimizer: ``"adamw"`` (Loshchilov and Hutter, 2019) or ``"sgd"`` with Nesterov momentum.
        learning_rate: peak learning rate of the head, in (0, 1e6].
        momentum: momentum of SGD, in [0, 0.999]; AdamW does not use it.
        weight_decay: decoupled for AdamW, L2 for SGD; of weight matrices and kernels alone, in [0, 10].
        batch_size: images per step, a whole number in [2, 65536].
        dropout: before the classifier, in [0, 0.95].
        label_smoothing: mass spread evenly over all classes, in [0, 0.9].
        layer_decay: factor on the learning rate per layer group below the head, in (0, 1]; 1 is none.
        frozen: fraction of the backbone's layer groups, from the stem, that stay fixed, in [0, 1].
        augmentation: strength, in [0, 1]; 0 shows every image as validation does.
        self_tuning: whether dropout and the strengths of colour jitter and cutout are tuned during the run,
            on a fifth of the training images, which is not trained on. Then `dropout` is where tuning begins,
            and `augmentation` stays fixed beneath what is tuned (`fms_hub.finetune.self_tuning.network`).
    """

    optimizer: Optimizer = "adamw"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.01
    batch_size: int = 64
    dropout: float = 0.0
    label_smoothing: float = 0.0
    layer_decay: float = 1.0
    frozen: float = 0.0
    augmentation: float = 0.0
    self_tuning: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            expected = " or ".join(map(repr, OPTIMIZERS))
            raise SpaceError(f"the hyperparameter 'optimizer' must be {expected}, found {self.optimizer!r}.")
        if not isinstance(self.self_tuning, bool):
            raise SpaceError(
                f"the hyperparameter 'self_tuning' must be True or False, found {self.self_tuning!r}."
            )
        for name, interval in INTERVALS.items():
            _check_number(name, getattr(self, name), interval, whole=name == "batch_size")

    @classmethod
    def from_hyperparameters(cls, values: Mapping[str, Value]) -> Recipe:
        """The recipe that a configuration's active hyperparameters spell out.

        Args:
            values: hyperparameters by name; what is missing takes its default.

        Raises:
            SpaceError: a name is unknown, or a value has the wrong type or is out of range.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise SpaceError(
                    f"fine-tuning cannot follow the hyperparameter {name!r}; "
                    f"it knows {', '.join(known)}.{hint}"
                )
        return cls(**values)  # type: ignore[arg-type]  # __post_init__ checks every type

    def hyperparameters(self) -> dict[str, Value]:
        """Every field by name, as plain values that JSON can hold; without ``self_tuning`` where it is off.

        So runs that were logged before there was self-tuning have the recipe that they had.
        """
        plain: dict[str, Value] = {"optimizer": str(self.optimizer), "batch_size": int(self.batch_size)}
        for name, value in asdict(self).items():
            plain.setdefault(name, float(value) if name in INTERVALS else value)
        if not self.self_tuning:
            del plain["self_tuning"]
        return {field.name: plain[field.name] for field in fields(self) if field.name in plain}


def _check_number(name: str, value: object, interval: Interval, *, whole: bool) -> None:
    kind = Integral if whole else Real
    if isinstance(value, bool) or not isinstance(value, kind) or float(value) not in interval:
        what = "a whole number" if whole else "a number"
        raise SpaceError(f"the hyperparameter {name!r} must be {what} in {interval}, found {value!r}.")
