"""What a ConfigSpace demands of a configuration, one vector at a time: conditions and forbidden clauses.

A vector (hyperparameters,) is in ConfigSpace's own scale and order, NaN where inactive or not set yet.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from ConfigSpace import ConfigurationSpace
from ConfigSpace.conditions import Conjunction
from ConfigSpace.forbidden import (
    ForbiddenAndConjunction,
    ForbiddenConjunction,
    ForbiddenGreaterThanEqualsClause,
    ForbiddenLike,
    ForbiddenOrConjunction,
    ForbiddenRelation,
)
from numpy.typing import NDArray


class Rules:
    """Conditions and forbidden clauses by position, so that a position is judged knowing those before it.

    Args:
        space: not changed.

    Attributes:
        groups: positions that one condition or clause ties together, ascending.
        read: positions whose values, not only their activity, a condition or clause looks at.
    """

    def __init__(self, space: ConfigurationSpace) -> None:
        index = space.index_of
        self._conditions = [tuple(space.parent_conditions_of[name]) for name in space.at]
        self._clauses: list[list[ForbiddenLike]] = [[] for _ in space.at]
        self.groups: list[tuple[int, ...]] = []
        self.read: set[int] = set()
        for child, conditions in enumerate(self._conditions):
            for condition in conditions:
                parts = condition.dlcs if isinstance(condition, Conjunction) else (condition,)
                parents = {index[part.parent.name] for part in parts}
                self.groups.append(tuple(sorted({child, *parents})))
                self.read |= parents
        for clause in space.forbidden_clauses:
            tied = tuple(sorted({index[name] for name in _names(clause)}))
            self.groups.append(tied)
            self.read |= set(tied)
            self._clauses[tied[-1]].append(clause)

    def active(self, position: int, vector: NDArray[np.float64]) -> bool:
        """Whether a hyperparameter is active, given all before it."""
        return all(condition.satisfied_by_vector(vector) for condition in self._conditions[position])

    def forbidden(self, position: int, vector: NDArray[np.float64]) -> bool:
        """Whether a clause is violated whose last hyperparameter is at this position."""
        return any(_violated(clause, vector) for clause in self._clauses[position])

    def allow(self, vector: NDArray[np.float64]) -> bool:
        """Whether a complete vector is a valid configuration."""
        return all(
            self.active(position, vector) == bool(np.isfinite(number))
            and not self.forbidden(position, vector)
            for position, number in enumerate(vector)
        )


def _names(clause: ForbiddenLike) -> Iterable[str]:
    if isinstance(clause, ForbiddenConjunction):
        return {name for part in clause.dlcs for name in _names(part)}
    if isinstance(clause, ForbiddenRelation):
        return (clause.left.name, clause.right.name)
    return (clause.hyperparameter.name,)


def _violated(clause: ForbiddenLike, vector: NDArray[np.float64]) -> bool:
    match clause:
        case ForbiddenAndConjunction():
            return all(_violated(part, vector) for part in clause.components)
        case ForbiddenOrConjunction():
            return any(_violated(part, vector) for part in clause.components)
        case ForbiddenGreaterThanEqualsClause():
            # Its own method prints what it compares (ConfigSpace 1.2).
            return bool(vector[clause.vector_id] >= clause.vector_value)
        case _:
            return bool(clause.is_forbidden_vector(vector))
