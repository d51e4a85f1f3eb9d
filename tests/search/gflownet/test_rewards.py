"""Scaled utilities, and what beta makes of them."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace, Float
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.rewards import Scale, learn
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.proposals import Configuration
from fms_hub.search.space import Space


def test_the_median_is_0_and_the_best_tenth_begins_at_1() -> None:
    scale = Scale.of(np.arange(101.0))  # median 50, 90 % quantile 90
    np.testing.assert_allclose(scale(np.array([50.0, 90.0, 70.0, -1e9, 1e9])), [0.0, 1.0, 0.5, -3.0, 6.0])


def test_where_most_draws_are_alike_the_best_is_the_unit_and_where_all_are_nothing_is_preferred() -> None:
    few = Scale.of(np.array([0.2] * 50 + [0.7]))
    np.testing.assert_allclose(few(np.array([0.2, 0.7])), [0.0, 1.0])
    assert Scale.of(np.full(9, 0.3))(np.full(2, 0.3)).tolist() == [0.0, 0.0]


def preferring_small_rates(configurations: Sequence[Configuration]) -> NDArray[np.float64]:
    return np.array([-np.log10(float(c.hyperparameters["learning_rate"])) for c in configurations])


def test_a_larger_beta_draws_better_configurations() -> None:
    space = ConfigurationSpace()
    space.add(Float("learning_rate", (1e-5, 1e-1), log=True))
    tree = Tree(["x"], Space(space))
    effort = Effort(rounds=2, draws=64, steps=40)
    means = []
    for beta in (0.5, 2.0):
        trained = learn(Policy(tree, 0), preferring_small_rates, effort, seed=0, beta=beta)
        states = trained.sample(500, torch.Generator().manual_seed(0))
        drawn = tree.configurations(states, np.random.default_rng(0))
        means.append(preferring_small_rates(drawn).mean())
    assert 3.2 < means[0] < means[1] - 0.3  # uniform draws have a mean of 3


@pytest.mark.parametrize("beta", [0.0, -1.0, np.inf, np.nan])
def test_a_beta_that_prefers_nothing_is_refused(beta: float) -> None:
    space = ConfigurationSpace()
    space.add(Float("learning_rate", (1e-5, 1e-1), log=True))
    with pytest.raises(UsageError, match="beta must be a finite number above 0"):
        learn(Policy(Tree(["x"], Space(space)), 0), preferring_small_rates, Effort(), seed=0, beta=beta)
