"""`sample_configurations`: several good configurations that differ, from what a search has learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.records import Value
from fms_hub.search.belief import Belief, Forecast
from fms_hub.search.encoding import Problem
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.rewards import BETA, learn
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.proposals import Configuration, farthest_first
from fms_hub.search.selection import Selection
from fms_hub.search.selector import Selector

DRAWS = 512
"""Of the trained policy, at least."""
SHORTLIST = 4
"""One in so many draws is good enough to be told, by its predicted score."""


@dataclass(frozen=True)
class Sampled:
    """A configuration with what is predicted of it.

    Attributes:
        candidate: name.
        hyperparameters: active ones.
        score: predicted validation score after a full run, in [0, 1].
        low, high: ends of a 90 % interval around it, in [0, 1].
    """

    candidate: str
    hyperparameters: Mapping[str, Value]
    score: float
    low: float
    high: float


def sample_configurations(
    source: Selection | Selector | Belief,
    n: int = 10,
    *,
    beta: float = BETA,
    effort: Effort | None = None,
    seed: int = 0,
) -> tuple[Sampled, ...]:
    """Sample good configurations that are unlike each other.

    A flow network (Bengio et al. 2021) is trained, in a few seconds, to draw configurations in proportion
    to exp(beta u), where u is the predicted score of a full run, 0 at the median of uniform draws and 1
    where their best tenth begins. Of its draws the best quarter is kept, and of these the best one and
    those farthest from it and each other.

    Args:
        source: a finished search, a running one, or a surrogate with its problem.
        n: how many, >= 1; fewer come back where the space has no more.
        beta: how much better configurations are preferred, > 0; less is more diverse.
        effort: of training; None means that of `fms_hub.search.gflownet.balance.Effort`.
        seed: of the network and all draws.

    Returns:
        Different configurations, best predicted score first.

    Raises:
        UsageError: ``n`` or ``beta`` is out of its range, or nothing was observed yet and the surrogate is
            not meta-trained.
        SpaceError: the space has no valid configuration, or a hyperparameter of an unknown kind.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1, found {n}.")
    belief = source if isinstance(source, Belief) else source.belief()
    if belief.empty:
        raise UsageError(
            "expected a surrogate that has seen something, found none: train at least one epoch, or start "
            "from a meta-trained surrogate."
        )
    policy = Policy(Tree(belief.problem.candidates, belief.problem.space), seed)
    trained = learn(policy, lambda c: belief.full_runs(c).mean, effort or Effort(), seed, beta)
    states = trained.sample(max(DRAWS, SHORTLIST * n), torch.Generator().manual_seed(seed))
    drawn = trained.tree.configurations(states, np.random.default_rng(seed))
    best = _best(_told(belief, drawn), n)
    chosen = farthest_first(_rows(belief.problem, best), 0, min(n, len(best)))
    return tuple(best[i] for i in sorted(chosen))


def _told(belief: Belief, drawn: Sequence[Configuration]) -> list[Sampled]:
    """What is predicted of each, best first."""
    believed = belief.full_runs(drawn)
    order = np.argsort(-believed.mean, kind="stable").tolist()
    forecasts = {i: Forecast.of(believed, i) for i in order}
    return [
        Sampled(drawn[i].candidate, drawn[i].hyperparameters, found.score, found.low, found.high)
        for i, found in forecasts.items()
    ]


def _best(told: Sequence[Sampled], n: int) -> list[Sampled]:
    """The different ones of the best quarter; where they are fewer than n, the next best too."""
    different: list[Sampled] = []
    for place, item in enumerate(told):
        if place >= len(told) // SHORTLIST and len(different) >= n:
            break
        if item not in different:
            different.append(item)
    return different


def _rows(problem: Problem, configurations: Sequence[Sampled]) -> NDArray[np.float64]:
    """Where configurations lie: encoded hyperparameters, and another candidate a range away."""
    candidates = np.array([[c.candidate == name for name in problem.candidates] for c in configurations])
    encoded = problem.space.encode([c.hyperparameters for c in configurations])
    return np.concatenate([encoded, candidates / np.sqrt(2.0)], axis=1)
