"""Proposals for new runs that a flow network draws in proportion to what the acquisition says of them.

The network follows the posterior: it is trained where the surrogate is fitted (see
`fms_hub.search.scheduler.fit_size`) and trained on from there for each proposal. So it depends on the
history alone, and a resumed search goes on like one that was never interrupted.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
import torch

from fms_hub.errors import UsageError
from fms_hub.search.acquisition import Acquisition
from fms_hub.search.encoding import Problem
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.rewards import BETA, learn
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.proposals import Configuration
from fms_hub.search.scheduler import Outlook, Situation, fit_size
from fms_hub.search.space import Space
from fms_hub.surrogate.surrogate import Surrogate

Proposals = Literal["local", "gflownet"]
"""Where new runs come from.

    local       uniform draws and neighbours of the best runs
    gflownet    these, and draws of a flow network (Bengio et al. 2021) from exp(beta x acquisition)
"""

GENERATED = 256
"""Draws for each proposal."""
FIRST = Effort()
FOLLOWING = Effort(rounds=2, draws=128, steps=40, learning_rate=5e-3, uniform=0.1)


def check_proposals(proposals: str, space: Space) -> None:
    """Whether new runs can come from there.

    Raises:
        UsageError: ``proposals`` is not one of `Proposals`.
        SpaceError: a flow network cannot draw from this space, see `Generator`.
    """
    if proposals not in get_args(Proposals):
        raise UsageError(f"proposals must be one of {', '.join(get_args(Proposals))}; found {proposals!r}.")
    if proposals == "gflownet":
        Tree(("any",), space)


class Generator:
    """Draws configurations for the situations of one search.

    Args:
        problem: of the search.
        seed: of the network and its draws.
        beta: how much better configurations are preferred, > 0, see `fms_hub.search.gflownet.rewards.learn`.
        first, following: training where the surrogate is fitted, and for each proposal from there.

    Raises:
        SpaceError: the space has no valid configuration, or a hyperparameter of an unknown kind.
    """

    def __init__(
        self,
        problem: Problem,
        seed: int,
        *,
        beta: float = BETA,
        first: Effort = FIRST,
        following: Effort = FOLLOWING,
    ) -> None:
        self._untrained = Policy(Tree(problem.candidates, problem.space), seed)
        self._seed, self._beta = seed, beta
        self._first, self._following = first, following
        self._trained: tuple[int, Policy] = (-1, self._untrained)

    def configurations(self, situation: Situation, surrogate: Surrogate) -> list[Configuration]:
        """Draw configurations that promise much, and differ from each other.

        Args:
            situation: the search so far, with something observed, or a meta-trained surrogate.
            surrogate: fitted by `fms_hub.search.scheduler.fit_to` for this situation.
        """
        seed = _seed(self._seed, len(situation.history), len(situation.pending))
        policy = self._follow(self._base(situation, surrogate), situation, surrogate, self._following, seed)
        states = policy.sample(GENERATED, torch.Generator().manual_seed(seed))
        return policy.tree.configurations(states, np.random.default_rng(seed))

    def _base(self, situation: Situation, surrogate: Surrogate) -> Policy:
        """The policy for what had been observed when the surrogate was fitted."""
        size = fit_size(len(situation.observed))
        if self._trained[0] != size:
            known = situation.history[: max(0, size - len(situation.earlier))]
            before = replace(situation, history=known, pending=())
            policy = self._untrained
            if before.observed or surrogate.learned is not None:
                policy = self._follow(policy, before, surrogate, self._first, _seed(self._seed, size))
            self._trained = (size, policy)
        return self._trained[1]

    def _follow(
        self, policy: Policy, situation: Situation, surrogate: Surrogate, effort: Effort, seed: int
    ) -> Policy:
        rng = np.random.default_rng(seed)
        acquisition = Acquisition.draw(situation.rule, situation.problem.horizon, rng)
        outlook = Outlook.of(situation, surrogate, acquisition)
        return learn(policy, outlook.promise_of_new, effort, seed, self._beta)


def _seed(*parts: int) -> int:
    return int(np.random.default_rng(parts).integers(2**31))
