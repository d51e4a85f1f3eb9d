"""Which actions keep a partial configuration completable.

n = states, H = hyperparameters, M = width; action M of every position says that it is inactive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import SpaceError
from fms_hub.search.gflownet.axes import Axis
from fms_hub.search.gflownet.rules import Rules

Actions = NDArray[np.int64]
Allowed = NDArray[np.bool_]


class Masks:
    """Looks ahead: an action is allowed if some valid configuration follows it.

    What is allowed at a position depends only on earlier positions that a condition or clause ties to this
    one or a later one; it is computed once for each combination of those.

    Args:
        axes: H of them, parents before children.
        rules: of the same hyperparameters.
        width: M, at least the length of the longest axis.

    Raises:
        SpaceError: no combination of actions is a valid configuration.
    """

    def __init__(self, axes: Sequence[Axis], rules: Rules, width: int) -> None:
        self.width = width
        self._rules = rules
        self._middles = [axis.middles() for axis in axes]
        self._ties = [_ties(position, rules.groups) for position in range(len(axes))]
        self._known: dict[tuple[int, tuple[int, ...]], Allowed] = {}
        if not self._one(0, ()).any():
            raise SpaceError(
                f"expected at least one valid combination of {', '.join(axis.name for axis in axes)}, found "
                "none: forbidden clauses leave nothing to propose. Remove one, or widen a range."
            )

    def allowed(self, position: int, states: Actions) -> Allowed:
        """The mask (n, M + 1) of states (n, H) that are set up to this position."""
        ties = self._ties[position]
        if not ties:
            return np.broadcast_to(self._one(position, ()), (len(states), self.width + 1))
        codes = np.zeros(len(states), dtype=np.int64)
        for tie in ties:
            # Numbered anew each time, so that no number of ties overflows.
            _, first, codes = np.unique(
                codes * (self.width + 1) + states[:, tie], return_index=True, return_inverse=True
            )
        keys = states[np.ix_(first, ties)].tolist()
        return np.stack([self._one(position, tuple(key)) for key in keys])[codes]

    def vectors(self, states: Actions) -> NDArray[np.float64]:
        """What stands for complete states (n, H), in ConfigSpace's scale, NaN where inactive."""
        padded = np.full((len(self._middles), self.width + 1), np.nan)
        for row, middles in zip(padded, self._middles, strict=True):
            row[: len(middles)] = middles
        return padded[np.arange(len(padded)), states]

    def _one(self, position: int, key: tuple[int, ...]) -> Allowed:
        """The mask (M + 1,) where the tied positions took the actions of the key."""
        known = self._known.get((position, key))
        if known is not None:
            return known
        before = dict(zip(self._ties[position], key, strict=True))
        vector = np.full(len(self._middles), np.nan)
        for tie, action in before.items():
            vector[tie] = np.nan if action == self.width else self._middles[tie][action]
        mask = np.zeros(self.width + 1, dtype=np.bool_)
        if self._rules.active(position, vector):
            for action, number in enumerate(self._middles[position]):
                vector[position] = number
                mask[action] = self._open(position, vector, before, action)
        else:
            mask[self.width] = self._open(position, vector, before, self.width)
        self._known[position, key] = mask
        return mask

    def _open(self, position: int, vector: NDArray[np.float64], before: dict[int, int], action: int) -> bool:
        """Whether nothing is violated, and the next position has an action."""
        if self._rules.forbidden(position, vector):
            return False
        following = position + 1
        if following == len(self._middles):
            return True
        taken = {**before, position: action}
        return bool(self._one(following, tuple(taken[tie] for tie in self._ties[following])).any())


def _ties(position: int, groups: Sequence[tuple[int, ...]]) -> list[int]:
    """Earlier positions that a group ties to this one or a later one."""
    tied = {other for group in groups if group[-1] >= position for other in group if other < position}
    return sorted(tied)
