"""Whether a trained policy draws in proportion to the reward: exactly, on a space that can be enumerated."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    OrdinalHyperparameter,
)
from numpy.typing import NDArray

from fms_hub.search.gflownet.balance import Effort, LogReward, Objective, train
from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.space import Space
from training.benchmarks.against_random import interval
from training.benchmarks.cached.report import TableRow, Target
from training.gflownet.exact import complete_states, normalised, terminals, total_variation

CANDIDATES = ("a", "b", "c")
BETA = 2.0
ALLOWED = 0.05
"""Of total variation, for trajectory balance."""
ROUNDS = {"trajectory-balance": 20, "flow-matching": 40}


@dataclass(frozen=True)
class Check:
    """One policy against one reward.

    Attributes:
        objective: of training.
        before, after: total variation from the normalised rewards, untrained and trained.
        seconds: of training, processor time.
    """

    objective: Objective
    before: float
    after: float
    seconds: float


def enumerable() -> Tree:
    """4,080 complete states: a condition (momentum of SGD) and a forbidden pair."""
    space = ConfigurationSpace()
    optimizer = Categorical("optimizer", ["adamw", "sgd"])
    momentum = OrdinalHyperparameter("momentum", [0.0, 0.5, 0.9])
    rate = OrdinalHyperparameter("learning_rate", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    space.add(optimizer, momentum, rate)
    space.add(OrdinalHyperparameter("batch_size", [16, 32, 64, 128]))
    space.add(OrdinalHyperparameter("weight_decay", [1e-6, 1e-4, 1e-2, 1e-1]))
    space.add(OrdinalHyperparameter("dropout", [0.0, 0.1, 0.2, 0.3, 0.4]))
    space.add(EqualsCondition(momentum, optimizer, "sgd"))
    space.add(
        ForbiddenAndConjunction(ForbiddenEqualsClause(optimizer, "sgd"), ForbiddenEqualsClause(rate, 1e-5))
    )
    return Tree(CANDIDATES, Space(space))


def landscape(tree: Tree, states: Actions, seed: int) -> LogReward:
    """A random utility with an effect of every action and of every pair of actions, times `BETA`.

    Args:
        tree: of the states.
        states: all complete ones, over which the utility is standardised.
        seed: of the effects.
    """
    rng = np.random.default_rng(seed)
    slots, positions = tree.width + 1, len(tree)
    single = rng.normal(size=(positions, slots))
    paired = rng.normal(scale=0.5, size=(positions, positions, slots, slots))

    def utility(of: Actions) -> NDArray[np.float64]:
        found: NDArray[np.float64] = single[np.arange(positions), of].sum(axis=1)
        for i in range(positions):
            for j in range(i):
                found += paired[i, j, of[:, i], of[:, j]]
        return found

    known = utility(states)
    centre, spread = known.mean(), known.std()
    return lambda of: BETA * (utility(of) - centre) / spread


def check(objective: Objective, seed: int, rounds: int) -> Check:
    """Train on a random landscape and compare with all its rewards."""
    tree = enumerable()
    states = complete_states(tree)
    log_reward = landscape(tree, states, seed)
    wanted = normalised(log_reward(states))
    policy = Policy(tree, seed)
    start = time.process_time()
    trained = train(policy, log_reward, Effort(objective, rounds=rounds), seed)
    seconds = time.process_time() - start
    distances = [total_variation(terminals(p).probabilities, wanted) for p in (policy, trained)]
    return Check(objective, distances[0], distances[1], seconds)


def rows(checks: Sequence[Check]) -> list[TableRow]:
    """Means over seeds of total variation and seconds."""
    found = []
    for objective in get_args(Objective):
        of = [c for c in checks if c.objective == objective]
        numbers = {
            "total variation, untrained": [c.before for c in of],
            "total variation, trained": [c.after for c in of],
            "seconds of training": [c.seconds for c in of],
        }
        for metric, values in numbers.items():
            mean, low, high = interval(values)
            found.append(
                TableRow(objective, "4,080 configurations", "exact", metric, mean, low, high, len(values))
            )
    return found


def target(checks: Sequence[Check]) -> Target:
    """The worst total variation under trajectory balance."""
    worst = max(c.after for c in checks if c.objective == "trajectory-balance")
    return Target(
        "total variation from the normalised rewards, the worst seed", ALLOWED, worst, worst <= ALLOWED
    )
