"""The search space: a ConfigSpace, and the fixed encoding in which a surrogate sees its configurations.

H = number of encoded columns. Columns of the vocabulary come first, always all of them and in
physical units, so that a configuration means the same to a surrogate whatever space it was drawn
from; hyperparameters outside the vocabulary add columns of their own behind them.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ConfigSpace import (
    Categorical,
    Configuration,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    OrdinalHyperparameter,
)
from ConfigSpace.hyperparameters import (
    BetaFloatHyperparameter,
    CategoricalHyperparameter,
    NormalFloatHyperparameter,
    UniformFloatHyperparameter,
)
from ConfigSpace.hyperparameters.hyperparameter import Hyperparameter
from ConfigSpace.util import deactivate_inactive_hyperparameters, get_one_exchange_neighbourhood
from numpy.typing import NDArray

from fms_hub.errors import SpaceError
from fms_hub.records import Value


@dataclass(frozen=True)
class Column:
    """How one known hyperparameter becomes one number, about 0 at `low` and 1 at `high`."""

    low: float
    high: float
    absent: float
    log: bool = False

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scale physical values (n,); outside the range it goes on linearly."""
        if self.log:
            floor = self.low * 1e-3
            return np.log(np.maximum(values, floor) / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)


VOCABULARY: Mapping[str, Column] = {
    "learning_rate": Column(1e-5, 1e-1, 1e-3, log=True),
    "weight_decay": Column(1e-6, 1e-1, 1e-2, log=True),
    "momentum": Column(0.0, 1.0, 0.9),
    "batch_size": Column(8, 512, 64, log=True),
    "dropout": Column(0.0, 0.5, 0.0),
    "label_smoothing": Column(0.0, 0.3, 0.0),
    "layer_decay": Column(0.5, 1.0, 1.0),
    "frozen": Column(0.0, 1.0, 0.0),
    "augmentation": Column(0.0, 1.0, 0.0),
}
OPTIMIZERS = ("adamw", "sgd")


def default_space() -> ConfigurationSpace:
    """Hyperparameters of the paper (Mehta et al. 2024, section 4) and those that fine-tuning adds.

    Returns:
        dropout, batch size, learning rate, momentum and weight decay; optimiser (momentum only with
        SGD), label smoothing, layer-wise learning-rate decay, frozen fraction, augmentation strength.
    """
    space = ConfigurationSpace()
    optimizer = Categorical("optimizer", list(OPTIMIZERS), default="adamw")
    momentum = Float("momentum", (0.0, 0.99), default=0.9)
    space.add(
        optimizer,
        momentum,
        Float("learning_rate", (1e-5, 1e-1), log=True, default=1e-3),
        Float("weight_decay", (1e-6, 1e-1), log=True, default=1e-2),
        OrdinalHyperparameter("batch_size", [16, 32, 64, 128], default_value=32),
        Float("dropout", (0.0, 0.5), default=0.0),
        Float("label_smoothing", (0.0, 0.2), default=0.0),
        Float("layer_decay", (0.5, 1.0), default=1.0),
        OrdinalHyperparameter("frozen", [0.0, 0.25, 0.5, 0.75, 1.0], default_value=0.0),
        OrdinalHyperparameter("augmentation", [0.0, 0.25, 0.5, 0.75, 1.0], default_value=0.0),
    )
    space.add(EqualsCondition(momentum, optimizer, "sgd"))
    return space


class Space:
    """A ConfigSpace that is sampled with explicit seeds and encoded for the surrogate.

    Args:
        configspace: any ConfigSpace; None means `default_space()`. It is copied.

    Raises:
        SpaceError: the space has no hyperparameter.
    """

    def __init__(self, configspace: ConfigurationSpace | None = None) -> None:
        self._space = copy.deepcopy(configspace) if configspace is not None else default_space()
        if not isinstance(self._space, ConfigurationSpace):
            found = type(configspace).__name__
            raise SpaceError(f"a search space is a ConfigSpace.ConfigurationSpace, found {found}.")
        if len(self._space) == 0:
            raise SpaceError("the search space has no hyperparameter; add at least one, or leave space=None.")
        self._unknown = tuple(name for name in sorted(self._space) if name not in (*VOCABULARY, "optimizer"))
        columns = [*VOCABULARY, "optimizer=sgd"]
        for name in self._unknown:
            columns += _column_names(self._space[name])
        self.columns: tuple[str, ...] = tuple(columns)

    @property
    def unknown(self) -> tuple[str, ...]:
        """Hyperparameters outside the vocabulary: encoded by their range, new to any surrogate."""
        return self._unknown

    @property
    def configspace(self) -> ConfigurationSpace:
        """The space's own ConfigSpace, to be read only."""
        return self._space

    @property
    def fingerprint(self) -> str:
        """sha256 of the serialised space, first 16 hexadecimal digits."""
        text = json.dumps(self._space.to_serialized_dict(), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def default(self) -> dict[str, Value]:
        """The space's default configuration."""
        return self._plain([self._space.get_default_configuration()])[0]

    def sample(self, n: int, seed: int) -> list[dict[str, Value]]:
        """Draw ``n`` configurations uniformly from the space's own distributions."""
        if n == 0:
            return []
        self._space.seed(seed)
        drawn = self._space.sample_configuration(n) if n > 1 else [self._space.sample_configuration()]
        return self._plain(drawn)

    def neighbours(self, values: Mapping[str, Value], n: int, seed: int) -> list[dict[str, Value]]:
        """Up to ``n`` configurations that differ from ``values`` in one hyperparameter."""
        centre = Configuration(self._space, values=dict(values))
        near = list(get_one_exchange_neighbourhood(centre, seed=seed, num_neighbors=4, stdev=0.15))
        order = np.random.default_rng(seed).permutation(len(near))
        return self._plain([near[i] for i in order[:n]])

    def adapted(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """The configuration with those of the values that the space allows, and defaults for the rest.

        Returns:
            Active values by name, or None where the space forbids the combination.
        """
        filled = {
            name: values[name]
            if name in values and hyperparameter.legal_value(values[name])
            else hyperparameter.default_value
            for name, hyperparameter in self._space.items()
        }
        try:
            return self._plain([deactivate_inactive_hyperparameters(filled, self._space)])[0]
        except ValueError:
            return None

    def encode(self, configurations: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
        """Encode configurations, shape (n, H); inactive and absent hyperparameters are neutral."""
        blocks = [
            column.encode(np.array([float(values.get(name, column.absent)) for values in configurations]))
            for name, column in VOCABULARY.items()
        ]
        blocks.append(np.array([float(values.get("optimizer") == "sgd") for values in configurations]))
        for name in self._unknown:
            width = len(_column_names(self._space[name]))
            rows = [_encode_unknown(self._space[name], values.get(name)) for values in configurations]
            blocks.append(np.array(rows).reshape(len(rows), width))
        return np.column_stack(blocks)

    def _plain(self, configurations: Sequence[Configuration]) -> list[dict[str, Value]]:
        return self.plain(np.array([configuration.get_array() for configuration in configurations]))

    def plain(self, vectors: NDArray[np.float64]) -> list[dict[str, Value]]:
        """Configurations from ConfigSpace's vectors (n, hyperparameters), NaN where inactive.

        Active values by name, sorted, as Python builtins, so that JSON and equality are exact. Column by
        column: asking each configuration for each value takes ten times longer.
        """
        plain: list[dict[str, Value]] = [{} for _ in vectors]
        for name in sorted(self._space):
            column = vectors[:, self._space.index_of[name]]
            active = np.flatnonzero(~np.isnan(column))
            values = rounded(self._space[name], column[active])
            for row, value in zip(active, values, strict=True):
                plain[row][name] = value
        return plain


def _column_names(hyperparameter: Hyperparameter) -> list[str]:
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return [f"{hyperparameter.name}={choice}" for choice in hyperparameter.choices]
    return [hyperparameter.name]


def rounded(hyperparameter: Hyperparameter, vector: NDArray[np.float64]) -> list[Value]:
    """Values of a column of unit numbers; floats to 8 digits, which survive the way there and back."""
    values: list[Value] = np.asarray(hyperparameter.to_value(vector)).tolist()
    if not isinstance(
        hyperparameter, UniformFloatHyperparameter | NormalFloatHyperparameter | BetaFloatHyperparameter
    ):
        return values
    low, high = hyperparameter.lower, hyperparameter.upper
    return [min(max(float(f"{value:.8g}"), low), high) for value in values]


def _encode_unknown(hyperparameter: Hyperparameter, value: Value | None) -> list[float]:
    """One number in [0, 1] for ordered values, one-hot for choices, the middle or zeros if inactive."""
    if isinstance(hyperparameter, CategoricalHyperparameter):
        return [float(value is not None and choice == value) for choice in hyperparameter.choices]
    if value is None:
        return [0.5]
    if isinstance(hyperparameter, OrdinalHyperparameter):
        return [hyperparameter.sequence.index(value) / max(len(hyperparameter.sequence) - 1, 1)]
    return [float(hyperparameter.to_vector(value))]
