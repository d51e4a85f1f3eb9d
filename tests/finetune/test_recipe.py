from __future__ import annotations

import numpy as np
import pytest

from fms_hub.errors import SpaceError
from fms_hub.finetune.recipe import INTERVALS, Recipe
from fms_hub.search.space import Space


def test_missing_hyperparameters_take_their_defaults():
    recipe = Recipe.from_hyperparameters({"learning_rate": 0.1, "optimizer": "sgd"})
    assert recipe == Recipe(optimizer="sgd", learning_rate=0.1)
    assert recipe.batch_size == 64


def test_every_configuration_of_the_default_space_is_a_recipe():
    for values in Space().sample(50, seed=0):
        recipe = Recipe.from_hyperparameters(values)
        assert recipe.learning_rate == values["learning_rate"]
        assert Recipe.from_hyperparameters(recipe.hyperparameters()) == recipe


def test_hyperparameters_are_plain_values_whatever_came_in():
    values = Recipe.from_hyperparameters(
        {"batch_size": np.int64(32), "dropout": np.float64(0.1), "frozen": 1}
    )
    plain = values.hyperparameters()
    assert {name: type(value) for name, value in plain.items()} == {
        "optimizer": str,
        "batch_size": int,
        **{name: float for name in INTERVALS if name != "batch_size"},
    }


def test_an_unknown_name_is_refused_with_the_nearest_known_one():
    with pytest.raises(SpaceError, match=r"'learning_rat'.*knows optimizer, .*Did you mean 'learning_rate'"):
        Recipe.from_hyperparameters({"learning_rat": 0.1})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("learning_rate", float("inf")),
        ("learning_rate", "0.1"),
        ("momentum", 1.0),
        ("weight_decay", -1e-9),
        ("batch_size", 1),
        ("batch_size", 32.0),
        ("learning_rate", True),
        ("frozen", False),
        ("dropout", 1.0),
        ("label_smoothing", -0.1),
        ("layer_decay", 0.0),
        ("layer_decay", 1.01),
        ("frozen", 1.1),
        ("augmentation", 2),
        ("optimizer", "adam"),
        ("optimizer", 3),
    ],
)
def test_a_value_that_cannot_be_followed_is_refused_by_name(name, value):
    with pytest.raises(SpaceError, match=f"'{name}'.*found"):
        Recipe.from_hyperparameters({name: value})
