"""The states of the flow network: partial configurations, set in one fixed order.

n = states, K = positions: the candidate first, then the hyperparameters in ConfigSpace's order. As the order
is fixed, a state has one parent only: the states are a tree, and backward probabilities are 1. M = width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fms_hub.search.gflownet.axes import BINS, axes
from fms_hub.search.gflownet.masks import Actions, Allowed, Masks
from fms_hub.search.gflownet.rules import Rules
from fms_hub.search.proposals import Configuration
from fms_hub.search.space import Space


class Tree:
    """Partial configurations of a search, and what can follow each.

    A state is a row of K actions, those after its position being of no account. Complete states are valid
    configurations. A range is in bins, equally wide in the hyperparameter's own scale; its value is drawn
    from within the bin when a state becomes a configuration.

    Args:
        candidates: names, at least one.
        space: of the hyperparameters.
        bins: of a range, >= 1.

    Attributes:
        candidates: names.
        space: of the hyperparameters.
        sizes: actions of each position, (K,), without that of being inactive.
        width: M, the largest of them; action M says that a hyperparameter is inactive.

    Raises:
        SpaceError: no configuration is valid, or there is a hyperparameter of an unknown kind.
    """

    def __init__(self, candidates: Sequence[str], space: Space, bins: int = BINS) -> None:
        self.candidates = tuple(candidates)
        self.space = space
        self._axes = axes(space.configspace, bins)
        self._rules = Rules(space.configspace)
        self.sizes = (len(self.candidates), *(len(axis) for axis in self._axes))
        self.width = max(self.sizes)
        self._masks = Masks(self._axes, self._rules, self.width)
        self._fragile = any(not self._axes[position].exact for position in self._rules.read)

    def __len__(self) -> int:
        """K."""
        return len(self.sizes)

    def allowed(self, position: int, states: Actions) -> Allowed:
        """The mask (n, M + 1) of actions that follow states (n, K) that are set up to this position."""
        if position > 0:
            return self._masks.allowed(position - 1, states[:, 1:])
        mask = np.arange(self.width + 1) < len(self.candidates)
        return np.broadcast_to(mask, (len(states), self.width + 1))

    def masks(self, states: Actions) -> Allowed:
        """The masks (n, K, M + 1) on the way to complete states (n, K)."""
        return np.stack([self.allowed(position, states) for position in range(len(self))], axis=1)

    def configurations(self, states: Actions, rng: np.random.Generator | None) -> list[Configuration]:
        """The configurations of complete states (n, K).

        Args:
            states: as they were drawn.
            rng: draws values from within the bins; None takes the middle of each bin.
        """
        vectors = self._masks.vectors(states[:, 1:])
        if rng is not None:
            vectors = self._jittered(states[:, 1:], vectors, rng)
        names = [self.candidates[index] for index in states[:, 0]]
        plain = self.space.plain(vectors)
        return [Configuration(name, values) for name, values in zip(names, plain, strict=True)]

    def _jittered(
        self, states: Actions, middles: NDArray[np.float64], rng: np.random.Generator
    ) -> NDArray[np.float64]:
        vectors = middles.copy()
        for position, axis in enumerate(self._axes):
            active = np.flatnonzero(states[:, position] < self.width)
            vectors[active, position] = axis.jittered(states[active, position], rng)
        if self._fragile:
            # Only the middles are known to obey conditions and clauses.
            for row, middle in zip(vectors, middles, strict=True):
                if not self._rules.allow(row):
                    row[:] = middle
        return vectors
