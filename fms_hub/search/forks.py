"""Proposals that go on from a kept checkpoint under other hyperparameters.

Source: M. Jaderberg et al., "Population Based Training of Neural Networks", 2017. There a bad member of a
population takes over the weights of a good one and perturbs its hyperparameters; here every such step is one
more thing that could be trained next, and has to promise more than all others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from fms_hub.records import Observation, Parent, Proposal
from fms_hub.search.encoding import Problem
from fms_hub.search.proposals import key_of
from fms_hub.search.shelf import best_of

FORKED, PERTURBED = 4, 8
"""Most checkpoints that are forked from, the best ones, and perturbations of each one's hyperparameters."""


def forks(
    problem: Problem,
    history: Sequence[Observation],
    stopped: Collection[int],
    run: int,
    rng: np.random.Generator,
) -> list[Proposal]:
    """The first epochs of forks, none of which has been trained before.

    Args:
        problem: of the search.
        history: oldest first.
        stopped: runs whose last checkpoint is gone.
        run: number that the fork gets.
        rng: of the perturbations.
    """
    tried = {(o.parent, key_of(o.candidate, o.hyperparameters)) for o in history}
    found = []
    for parent in _parents(problem.horizon, history, stopped):
        origin = Parent(parent.run, parent.epoch)
        near = problem.space.neighbours(parent.hyperparameters, PERTURBED, int(rng.integers(2**31)))
        found += [
            Proposal(run, parent.candidate, values, parent.epoch + 1, problem.horizon, origin)
            for values in near
            if (origin, key_of(parent.candidate, values)) not in tried
        ]
    return found


def _parents(horizon: int, history: Sequence[Observation], stopped: Collection[int]) -> list[Observation]:
    """The best last epochs of runs, and the best epoch of all, as far as something is left to train."""
    last = {o.run: o for o in history if o.run not in stopped}
    best = best_of(history)
    kept = {(o.run, o.epoch): o for o in [*last.values(), best] if o is not None}
    able = [o for o in kept.values() if o.score is not None and o.epoch < horizon]
    return sorted(able, key=lambda o: (-(o.score or 0.0), o.run))[:FORKED]
