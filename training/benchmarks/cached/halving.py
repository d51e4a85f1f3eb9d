"""Random search, successive halving and Hyperband over the rows of a pool, in any order."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.benchmarks.cached.environment import Environment

ETA = 3
"""One run in so many goes on (Li et al. 2018)."""


def run_through(environment: Environment, order: Iterator[int]) -> None:
    """Train runs to their ends, one after the other.

    Raises:
        BudgetSpent: nothing is left.
    """
    for index in order:
        while not environment.done(index):
            environment.advance(index)


def halve(environment: Environment, order: Iterator[int], runs: int, halvings: int) -> None:
    """Successive halving (Jamieson and Talwalkar 2016): of ``runs`` runs the best third goes on each time.

    Rungs lie at horizon / `ETA`^k epochs, k = ``halvings`` .. 0, rounded down but at least 1.

    Args:
        environment: of the search.
        order: where the runs are taken from.
        runs: how many begin; fewer if the order ends.
        halvings: rungs before the last one.

    Raises:
        BudgetSpent: nothing is left.
    """
    alive = [index for _, index in zip(range(runs), order, strict=False)]
    for k in range(halvings, -1, -1):
        rung = max(environment.horizon // ETA**k, 1)
        scores = {index: _train_to(environment, index, rung) for index in alive}
        best = sorted(alive, key=lambda index: -scores[index])[: len(alive) // ETA]
        alive = [index for index in best if not environment.done(index)]


def successive_halving(environment: Environment, order: Iterator[int]) -> None:
    """Halve one batch after the other, each beginning with one epoch.

    Raises:
        BudgetSpent: nothing is left.
    """
    while _more(environment):
        halve(environment, order, *brackets(environment.horizon)[0])


def hyperband(environment: Environment, order: Iterator[int]) -> None:
    """Hyperband (Li et al. 2018): its brackets in turn, again and again.

    Raises:
        BudgetSpent: nothing is left.
    """
    while _more(environment):
        for bracket in brackets(environment.horizon):
            halve(environment, order, *bracket)


def shuffled(environment: Environment, rng: np.random.Generator) -> Iterator[int]:
    """All rows in random order."""
    order: NDArray[np.int64] = rng.permutation(len(environment.configurations))
    return iter(order.tolist())


def brackets(horizon: int) -> list[tuple[int, int]]:
    """(runs, halvings) from the widest bracket to the one that halves nothing."""
    deepest = math.floor(math.log(horizon, ETA) + 1e-9)
    return [(math.ceil((deepest + 1) / (s + 1) * ETA**s), s) for s in range(deepest, -1, -1)]


def _more(environment: Environment) -> bool:
    return len(environment.untried()) > 0


def _train_to(environment: Environment, index: int, epoch: int) -> float:
    """The last score of a run at this epoch or its end; below all others if it failed."""
    scores = [o.score for o in environment.history if o.run == index]
    while environment.reached(index) < epoch and not environment.done(index):
        scores.append(environment.advance(index).score)
    return -1.0 if scores[-1] is None else scores[-1]
