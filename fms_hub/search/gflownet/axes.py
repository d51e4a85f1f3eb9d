"""What a hyperparameter can be set to: its choices, or bins of its range.

m = actions of an axis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from ConfigSpace import ConfigurationSpace, InCondition
from ConfigSpace.conditions import Conjunction
from ConfigSpace.forbidden import ForbiddenConjunction, ForbiddenInClause, ForbiddenRelation
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    Constant,
    IntegerHyperparameter,
    NumericalHyperparameter,
    OrdinalHyperparameter,
)
from ConfigSpace.hyperparameters.hyperparameter import Hyperparameter
from numpy.typing import NDArray

from fms_hub.errors import SpaceError
from fms_hub.records import Value
from fms_hub.search.space import rounded

BINS = 8
"""Of a range; conditions and forbidden clauses that name a value inside it add some."""

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Axis:
    """One hyperparameter and its actions.

    Attributes:
        hyperparameter: of the ConfigSpace.
        lows, highs: ends of each bin, (m,), equal for a choice: in ConfigSpace's own scale, which is
            logarithmic where the hyperparameter's is; of whole numbers the first and last of the bin.
        whole: whether the ends are whole numbers.
    """

    hyperparameter: Hyperparameter
    lows: Vector
    highs: Vector
    whole: bool = False

    def __len__(self) -> int:
        return len(self.lows)

    @property
    def name(self) -> str:
        """Of the hyperparameter."""
        return str(self.hyperparameter.name)

    @property
    def exact(self) -> bool:
        """Whether every action is one value."""
        return bool((self.lows == self.highs).all())

    def middles(self) -> Vector:
        """The vector that stands for each action, (m,)."""
        return self._vectors((self.lows + self.highs) / 2)

    def jittered(self, actions: NDArray[np.int64], rng: np.random.Generator) -> Vector:
        """A vector (n,) from within the bin of each action (n,), uniform there."""
        lows, highs = self.lows[actions], self.highs[actions] + self.whole
        return self._vectors(lows + rng.random(len(actions)) * (highs - lows))

    def _vectors(self, numbers: Vector) -> Vector:
        """Of the plain values that configurations have, so that rules are checked on what is handed out."""
        if self.exact and not self.whole:
            return numbers
        values = np.floor(numbers) if self.whole else rounded(self.hyperparameter, numbers)
        vectors: Vector = np.asarray(self.hyperparameter.to_vector(np.asarray(values)), dtype=np.float64)
        return np.clip(vectors, 0.0, 1.0)


def axes(space: ConfigurationSpace, bins: int = BINS) -> tuple[Axis, ...]:
    """One axis for each hyperparameter, in ConfigSpace's order, in which parents come before children.

    Args:
        space: not changed.
        bins: of a range, equally wide in ConfigSpace's scale, >= 1.

    Raises:
        SpaceError: a hyperparameter is of a kind that is not known here, or ``bins`` is below 1.
    """
    if bins < 1:
        raise SpaceError(f"a range needs at least one bin, found {bins}.")
    named: dict[str, set[Value]] = {}
    for name, value in _literals(space):
        named.setdefault(name, set()).add(value)
    return tuple(_axis(space[name], bins, named.get(name, set())) for name in space.at)


def _axis(hyperparameter: Hyperparameter, bins: int, named: Iterable[Value]) -> Axis:
    choices = _choices(hyperparameter)
    if choices is not None:
        vectors = np.array([hyperparameter.to_vector(choice) for choice in choices], dtype=np.float64)
        return Axis(hyperparameter, vectors, vectors)
    if isinstance(hyperparameter, IntegerHyperparameter):
        return _whole_axis(hyperparameter, bins, named)
    if not isinstance(hyperparameter, NumericalHyperparameter):
        kind = type(hyperparameter).__name__
        raise SpaceError(
            f"{hyperparameter.name} is a {kind}; generated proposals know ranges, choices and constants."
        )
    cuts = [float(hyperparameter.to_vector(value)) for value in named]
    edges = np.unique([*np.linspace(0.0, 1.0, bins + 1), *cuts])
    return Axis(hyperparameter, edges[:-1], edges[1:])


def _choices(hyperparameter: Hyperparameter) -> tuple[Value, ...] | None:
    match hyperparameter:
        case CategoricalHyperparameter():
            return tuple(hyperparameter.choices)
        case OrdinalHyperparameter():
            return tuple(hyperparameter.sequence)
        case Constant():
            return (hyperparameter.value,)
        case _:
            return None


def _whole_axis(hyperparameter: IntegerHyperparameter, bins: int, named: Iterable[Value]) -> Axis:
    """Whole numbers one by one where they are few; a value named by a condition has a bin of its own."""
    low, high = int(hyperparameter.lower), int(hyperparameter.upper)
    if high - low < bins:
        numbers = np.arange(low, high + 1, dtype=np.float64)
        return Axis(hyperparameter, numbers, numbers, whole=True)
    even = np.asarray(hyperparameter.to_value(np.linspace(0.0, 1.0, bins + 1)))[:-1]
    cuts = [number for value in named for number in (int(value), int(value) + 1) if number <= high]
    starts = np.unique([*even.astype(np.int64), *cuts]).astype(np.float64)
    return Axis(hyperparameter, starts, np.append(starts[1:] - 1, high), whole=True)


def _literals(space: ConfigurationSpace) -> Iterator[tuple[str, Value]]:
    """Values that conditions and forbidden clauses name, with the name of their hyperparameter."""
    for parents in space.parent_conditions_of.values():
        for condition in parents:
            for part in condition.dlcs if isinstance(condition, Conjunction) else (condition,):
                values = part.values if isinstance(part, InCondition) else (part.value,)
                yield from ((part.parent.name, value) for value in values)
    for clause in space.forbidden_clauses:
        for part in clause.dlcs if isinstance(clause, ForbiddenConjunction) else (clause,):
            if not isinstance(part, ForbiddenRelation):
                values = part.values if isinstance(part, ForbiddenInClause) else (part.value,)
                yield from ((part.hyperparameter.name, value) for value in values)
