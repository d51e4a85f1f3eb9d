"""A trained policy draws in proportion to the reward: checked against all complete states, exactly."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    OrdinalHyperparameter,
)
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.search.gflownet.balance import Effort, Objective, train
from fms_hub.search.gflownet.masks import Actions
from fms_hub.search.gflownet.policy import Policy, tensors
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.space import Space
from training.gflownet.exact import complete_states, normalised, terminals, total_variation


def small_tree() -> Tree:
    """Two candidates, and a choice of two: four complete states."""
    space = ConfigurationSpace()
    space.add(Categorical("batch_size", [16, 32]))
    return Tree(["x", "y"], Space(space))


def wide_tree() -> Tree:
    """1,088 complete states, with a condition and a forbidden pair."""
    space = ConfigurationSpace()
    optimizer = Categorical("optimizer", ["adamw", "sgd"])
    momentum = OrdinalHyperparameter("momentum", [0.0, 0.5, 0.9])
    rate = OrdinalHyperparameter("learning_rate", [1e-5, 1e-4, 1e-3, 1e-2, 1e-1])
    space.add(optimizer, momentum, rate)
    space.add(OrdinalHyperparameter("batch_size", [16, 32, 64, 128]))
    space.add(OrdinalHyperparameter("dropout", [0.0, 0.1, 0.2, 0.3]))
    space.add(EqualsCondition(momentum, optimizer, "sgd"))
    space.add(
        ForbiddenAndConjunction(ForbiddenEqualsClause(optimizer, "sgd"), ForbiddenEqualsClause(rate, 1e-5))
    )
    return Tree(["a", "b", "c", "d"], Space(space))


def log_reward(states: Actions) -> NDArray[np.float64]:
    """Several modes: waves over pairs of positions."""
    a, b = states.astype(np.float64), np.roll(states, 1, axis=1)
    found: NDArray[np.float64] = (np.sin(1.7 * a + 2.3 * b) + np.cos(1.1 * a * b)).sum(axis=1)
    return found


@pytest.mark.parametrize(("objective", "rounds"), [("trajectory-balance", 10), ("flow-matching", 24)])
def test_probabilities_are_normalised_rewards(objective: Objective, rounds: int) -> None:
    tree = wide_tree()
    untrained = Policy(tree, seed=0)
    states = complete_states(tree)
    wanted = normalised(log_reward(states))
    before = terminals(untrained)
    assert len(states) == 4 * (4 * 5 * 4 + 4 * 4 * 4 * 3)
    trained = train(untrained, log_reward, Effort(objective, rounds=rounds), seed=0)
    after = terminals(trained)
    assert (after.states == states).all()
    assert after.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert total_variation(before.probabilities, wanted) > 0.5
    assert total_variation(after.probabilities, wanted) <= 0.05


def test_rewards_of_1_2_3_4_become_tenths() -> None:
    tree = small_tree()
    values = {(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0, (1, 1): 4.0}

    def reward(states: Actions) -> NDArray[np.float64]:
        return np.log([values[a, b] for a, b in states.tolist()])

    trained = train(Policy(tree, 0), reward, Effort(rounds=4, draws=32), seed=0)
    found = terminals(trained)
    assert found.states.tolist() == [list(state) for state in values]
    np.testing.assert_allclose(found.probabilities, [0.1, 0.2, 0.3, 0.4], atol=2e-3)
    assert trained.log_z.item() == pytest.approx(math.log(10), abs=0.01)


def test_probabilities_step_by_step_are_those_of_whole_states() -> None:
    tree = wide_tree()
    policy = Policy(tree, seed=3)
    found = terminals(policy)
    with torch.no_grad():
        at_once = policy.log_probabilities(*tensors(tree, found.states)).exp().numpy()
    np.testing.assert_allclose(found.probabilities, at_once, rtol=1e-4)


def test_draws_follow_the_probabilities() -> None:
    tree = small_tree()
    policy = Policy(tree, seed=1)
    drawn = policy.sample(20_000, torch.Generator().manual_seed(0))
    shares = [np.mean((drawn == state).all(axis=1)) for state in terminals(policy).states]
    np.testing.assert_allclose(shares, terminals(policy).probabilities, atol=0.015)
    uniform = policy.sample(20_000, torch.Generator().manual_seed(0), uniform=1.0)
    np.testing.assert_allclose(uniform.mean(axis=0), [0.5, 0.5], atol=0.015)


def test_training_repeats_with_its_seed_and_leaves_the_policy_it_started_from() -> None:
    tree = small_tree()
    policy = Policy(tree, seed=0)
    before = terminals(policy).probabilities
    effort = Effort(rounds=1, draws=16, steps=5)
    one, same, other = (
        terminals(train(policy, log_reward, effort, seed)).probabilities for seed in (1, 1, 2)
    )
    assert (one == same).all()
    assert (one != other).any()
    assert (terminals(policy).probabilities == before).all()


def test_a_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(UsageError, match="must be finite"):
        train(Policy(small_tree(), 0), lambda states: np.full(len(states), -np.inf), Effort(), seed=0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("objective", "guess", "objective must be one of"), ("rounds", 0, "rounds must be above 0"),
     ("temperature", -1.0, "temperature must be above 0"), ("uniform", 1.5, r"uniform must be in \[0, 1\]")],
)  # fmt: skip
def test_effort_outside_its_range_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Effort(**{name: value})
