"""A static portfolio: configurations of training tasks that complement each other, tried in a fixed order.

Greedy as in auto-sklearn 2.0 (Feurer et al. 2022): each next member is the one that most lowers
the mean over training tasks of the regret of the best member. A member was trained on one task; what it
would have reached on another is read off the row of that task nearest to it
(`training.benchmarks.cached.snapping`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Value
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.pool import CachedRun, Pool
from training.benchmarks.cached.snapping import CANDIDATE, Snap

MEMBERS = 32
"""More than a budget of 200 epochs can train to the end."""
PER_TASK = 40
"""Only so many of the best configurations of each training task can become members."""


def build(training: Sequence[Pool], members: int = MEMBERS) -> list[dict[str, Value]]:
    """The portfolio, the best member first.

    Args:
        training: pools that may be learned from.
        members: how many; fewer if there are no more.
    """
    best = [_proposal(run) for pool in training for run in _best(pool)]
    # Tasks share configurations, the default one for instance.
    proposals = list({json.dumps(proposal, sort_keys=True): proposal for proposal in best}.values())
    if not proposals:
        return []
    regrets = np.stack([_regrets(pool, proposals) for pool in training])
    chosen: list[int] = []
    reached = np.ones(len(training))
    for _ in range(min(members, len(proposals))):
        after = np.minimum(reached[:, None], regrets).mean(0)
        after[chosen] = np.inf
        # Where nothing improves any more, the best on average among the rest.
        following = int(np.lexsort((regrets.mean(0), after))[0])
        chosen.append(following)
        reached = np.minimum(reached, regrets[:, following])
    return [proposals[index] for index in chosen]


def rows(environment: Environment, members: Sequence[Mapping[str, Value]]) -> Iterator[int]:
    """The nearest row of each member that no earlier one took, then all others by distance from the first.

    Raises:
        ValueError: there are no members.
    """
    if not members:
        raise ValueError("a portfolio needs at least one member, found none.")
    snap = Snap(environment)
    left = list(range(len(environment.configurations)))
    for member in members:
        if left:
            distances = snap.distances(member)[left]
            yield left.pop(int(np.argmin(distances)))
    distances = snap.distances(members[0])
    yield from sorted(left, key=lambda index: float(distances[index]))


def _best(pool: Pool) -> list[CachedRun]:
    return sorted(pool.runs, key=lambda run: -run.final)[:PER_TASK]


def _proposal(run: CachedRun) -> dict[str, Value]:
    return {**run.hyperparameters, CANDIDATE: run.candidate}


def _regrets(pool: Pool, proposals: Sequence[Mapping[str, Value]]) -> NDArray[np.float64]:
    """Normalised final regret of each proposal on a pool, (n,)."""
    snap = Snap(Environment(pool, budget=1))
    finals = pool.finals()
    spread = float(np.ptp(finals)) or 1.0
    reached = np.array([finals[snap.nearest(proposal)] for proposal in proposals])
    regrets: NDArray[np.float64] = (finals.max() - reached) / spread
    return regrets
