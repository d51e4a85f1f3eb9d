"""Masks never lead to an invalid configuration, and never hide a valid one."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenGreaterThanRelation,
    ForbiddenLessThanRelation,
    OrdinalHyperparameter,
)
from hypothesis import given, settings

from fms_hub.errors import SpaceError
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.space import Space, default_space
from tests.search.gflownet.spaces import DISCRETE, configspaces, valid
from training.gflownet.exact import complete_states


def some_tree(space: ConfigurationSpace) -> Tree | None:
    """None where bins leave nothing valid, which must be said."""
    try:
        return Tree(["x", "y"], Space(space), bins=3)
    except SpaceError as error:
        assert "found none" in str(error)
        return None


@settings(max_examples=60, deadline=None)
@given(configspaces())
def test_whatever_is_drawn_is_a_valid_configuration(space: ConfigurationSpace) -> None:
    tree = some_tree(space)
    if tree is None:
        return
    states = Policy(tree, 0).sample(16, torch.Generator().manual_seed(0))
    for rng in (None, np.random.default_rng(0)):
        for configuration in tree.configurations(states, rng):
            assert configuration.candidate in ("x", "y")
            assert valid(space, configuration.hyperparameters), configuration


@settings(max_examples=30, deadline=None)
@given(configspaces(kinds=DISCRETE))
def test_every_valid_configuration_can_be_drawn_and_only_once(space: ConfigurationSpace) -> None:
    tree = some_tree(space)
    assert tree is not None
    drawn = [c.hyperparameters for c in tree.configurations(complete_states(tree), None)]
    found = [tuple(sorted(values.items())) for values in drawn]
    assert len(found) == len(set(found)) * 2  # once for each candidate
    assert set(found) == set(enumerated(space))


def enumerated(space: ConfigurationSpace) -> list[tuple[tuple[str, Any], ...]]:
    """Valid configurations among all combinations of values, each hyperparameter absent or not."""
    choices = {
        "categorical": ("a", "b", "c"),
        "ordinal": (16, 32, 64),
        "integer": (1, 2, 3),
        "constant": (7,),
    }
    options = []
    for name, parameter in space.items():
        kind = next(kind for kind in choices if kind in type(parameter).__name__.lower())
        options.append([None, *((name, value) for value in choices[kind])])
    combinations = (tuple(pair for pair in drawn if pair) for drawn in itertools.product(*options))
    return [tuple(sorted(drawn)) for drawn in combinations if valid(space, drawn)]


def test_an_inactive_hyperparameter_has_one_action_and_no_value() -> None:
    tree = Tree(["x"], Space(default_space()))
    states = complete_states(Tree(["x"], Space(with_momentum())))
    assert len(states) == 2 + 3 * 2  # adamw has no momentum
    drawn = tree.configurations(Policy(tree, 0).sample(200, torch.Generator().manual_seed(0)), None)
    assert {c.hyperparameters["optimizer"] == "sgd" for c in drawn} == {True, False}
    assert all(("momentum" in c.hyperparameters) == (c.hyperparameters["optimizer"] == "sgd") for c in drawn)


def with_momentum() -> ConfigurationSpace:
    space = ConfigurationSpace()
    optimizer = Categorical("optimizer", ["adamw", "sgd"])
    momentum = OrdinalHyperparameter("momentum", [0.0, 0.5, 0.9])
    space.add(optimizer, momentum, Categorical("batch_size", [16, 32]))
    space.add(EqualsCondition(momentum, optimizer, "sgd"))
    return space


def test_a_choice_that_would_end_nowhere_is_not_offered() -> None:
    """With a = "no", every value of b is forbidden: the first action must already know."""
    space = ConfigurationSpace()
    a, b = Categorical("a", ["yes", "no"], default="yes"), Categorical("b", [1, 2])
    space.add(a, b)
    for value in (1, 2):
        space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(a, "no"), ForbiddenEqualsClause(b, value)))
    tree = Tree(["x"], Space(space))
    empty = np.zeros((1, 3), dtype=np.int64)
    assert tree.allowed(1, empty).tolist() == [[True, False, False]]
    assert len(complete_states(tree)) == 2


def test_a_space_whose_bins_are_all_forbidden_is_refused() -> None:
    """Only a = b is allowed, and no bin's middle of one is that of the other."""
    space = ConfigurationSpace()
    a, b = Float("a", (0.0, 1.0), default=0.25), Float("b", (0.0, 0.9), default=0.25)
    space.add(a, b)
    space.add(ForbiddenLessThanRelation(a, b), ForbiddenGreaterThanRelation(a, b))
    with pytest.raises(SpaceError, match=r"valid combination of a, b, found none"):
        Tree(["x"], Space(space))
