"""From a proposal somewhere in the space to a row of the pool.

The distance of a proposal from a row is the root mean square difference of their encoded hyperparameters,
over the columns that vary in the pool (about 0 to 1 each), plus 1 if the candidates differ. So the proposed
candidate is kept as long as it has untried rows. The nearest untried row is trained in the proposal's place,
and methods that learn are told that row's hyperparameters, not those that they proposed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import CategoricalHyperparameter, FloatHyperparameter

from fms_hub.records import Value
from training.benchmarks.cached.environment import Environment

CANDIDATE = "candidate"
"""The name under which other libraries see the choice of a candidate."""


class Exhausted(Exception):
    """Every row of the pool was tried."""


@dataclass(frozen=True)
class Axis:
    """One dimension of the space, as other libraries are told of it.

    Attributes:
        name: of the hyperparameter, or `CANDIDATE`.
        choices: without order; empty for numbers.
        levels: the values of a number that has few, ascending; its coordinate is their position.
        low, high: range of the coordinate; both logarithms where `log`.
        log: whether the coordinate is the natural logarithm.
    """

    name: str
    choices: tuple[Value, ...] = ()
    levels: tuple[float, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False

    def coordinate(self, value: Value) -> float:
        """Where a number lies, clipped to the range."""
        if self.levels:
            return float(np.argmin(np.abs(np.array(self.levels) - float(value))))
        number = float(value)
        if self.log:
            number = float(np.log(max(number, float(np.exp(self.low)))))
        return min(max(number, self.low), self.high)

    def value(self, coordinate: float) -> Value:
        """The number at a coordinate."""
        if self.levels:
            return self.levels[min(max(round(coordinate), 0), len(self.levels) - 1)]
        return float(np.exp(coordinate)) if self.log else float(coordinate)


def axes(environment: Environment) -> tuple[Axis, ...]:
    """The dimensions of an environment's space; the choice of the candidate first, if there is one."""
    names = tuple(sorted({row.candidate for row in environment.configurations}))
    found = [Axis(CANDIDATE, choices=names)] if len(names) > 1 else []
    for name in sorted(environment.configspace):
        found.append(_axis(name, environment.configspace))
    return tuple(found)


def _axis(name: str, space: ConfigurationSpace) -> Axis:
    parameter = space[name]
    if isinstance(parameter, CategoricalHyperparameter):
        return Axis(name, choices=tuple(parameter.choices))
    if isinstance(parameter, FloatHyperparameter):
        low, high = float(parameter.lower), float(parameter.upper)
        if parameter.log:
            return Axis(name, low=float(np.log(low)), high=float(np.log(high)), log=True)
        return Axis(name, low=low, high=high)
    levels = tuple(sorted(float(value) for value in parameter.sequence))
    return Axis(name, levels=levels, high=float(len(levels) - 1))


def active(space: ConfigurationSpace, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values without those whose condition is not met."""
    inactive = {c.child.name for c in space.conditions if values.get(c.parent.name) != c.value}
    return {name: value for name, value in values.items() if name not in inactive}


class Snap:
    """Finds rows of one environment.

    Args:
        environment: of the search.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        rows = environment.configurations
        encoded = environment.space.encode([row.hyperparameters for row in rows])
        self._varies = np.ptp(encoded, axis=0) > 0
        self._encoded = encoded[:, self._varies]
        self._candidates = np.array([row.candidate for row in rows])

    def nearest(self, proposal: Mapping[str, Value]) -> int:
        """The untried row nearest to a proposal, the first of equals.

        Args:
            proposal: values by name, with the candidate under `CANDIDATE` if there are several.

        Raises:
            Exhausted: there is no untried row.
        """
        untried = self._environment.untried()
        if not len(untried):
            raise Exhausted
        return int(untried[np.argmin(self.distances(proposal)[untried])])

    def distances(self, proposal: Mapping[str, Value]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Of a proposal from all rows, (n,)."""
        values = {name: value for name, value in proposal.items() if name != CANDIDATE}
        values = active(self._environment.configspace, values)
        point = self._environment.space.encode([values])[:, self._varies]
        squares = (self._encoded - point) ** 2
        apart = np.sqrt(squares.mean(1)) if self._varies.any() else np.zeros(len(squares))
        other = self._candidates != proposal.get(CANDIDATE, self._candidates[0])
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = apart + other
        return found
