"""The space: seeded samples, conditions, and an encoding that does not depend on the ranges."""

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

from fms_hub.errors import SpaceError
from fms_hub.search.space import Space


def test_equal_seeds_draw_equal_configurations_whatever_was_drawn_before() -> None:
    first, second = Space(), Space()
    second.sample(7, seed=99)
    assert first.sample(20, seed=1) == second.sample(20, seed=1)
    assert first.sample(20, seed=1) != first.sample(20, seed=2)


def test_momentum_is_there_only_with_sgd() -> None:
    drawn = Space().sample(50, seed=0)
    assert {values["optimizer"] for values in drawn} == {"adamw", "sgd"}
    assert all(("momentum" in values) == (values["optimizer"] == "sgd") for values in drawn)


def test_values_are_python_builtins() -> None:
    kinds = {type(value) for values in Space().sample(30, seed=0) for value in values.values()}
    assert kinds <= {int, float, str}


def test_neighbours_differ_in_one_choice_and_are_valid() -> None:
    space = Space()
    centre = space.sample(1, seed=4)[0]
    near = space.neighbours(centre, 12, seed=0)
    assert len(near) == 12
    for values in near:
        changed = {k for k in values.keys() | centre.keys() if values.get(k) != centre.get(k)}
        assert len(changed - {"momentum"}) == 1 or changed == {"momentum"}


def test_encoding_is_physical_so_that_ranges_do_not_matter() -> None:
    narrow = ConfigurationSpace({"learning_rate": (1e-4, 1e-3)})
    values = {"learning_rate": 1e-3, "optimizer": "adamw"}
    column = Space().columns.index("learning_rate")
    # log10(1e-3 / 1e-5) / log10(1e-1 / 1e-5) = 2 / 4
    assert Space(narrow).encode([values])[0, column] == pytest.approx(0.5)
    assert Space().encode([values])[0, column] == pytest.approx(0.5)


def test_unknown_hyperparameters_get_columns_of_their_own() -> None:
    configspace = ConfigurationSpace()
    configspace.add(
        Categorical("mixer", ["none", "mixup", "cutmix"]), Integer("layers", (1, 5)), Float("x", (0, 2))
    )
    space = Space(configspace)
    assert space.unknown == ("layers", "mixer", "x")
    row = dict(zip(space.columns, space.encode([{"mixer": "cutmix", "layers": 5, "x": 0.5}])[0], strict=True))
    assert (row["mixer=none"], row["mixer=cutmix"], row["layers"], row["x"]) == (0.0, 1.0, 1.0, 0.25)


def test_all_encoded_numbers_are_finite() -> None:
    space = Space()
    assert np.isfinite(space.encode([*space.sample(100, seed=3), {}, space.default()])).all()


def test_the_users_space_is_not_touched() -> None:
    configspace = ConfigurationSpace({"learning_rate": (1e-4, 1e-3)}, seed=5)
    twin = ConfigurationSpace({"learning_rate": (1e-4, 1e-3)}, seed=5)
    Space(configspace).sample(3, seed=1)
    assert configspace.sample_configuration() == twin.sample_configuration()


def test_fingerprint_changes_with_a_range() -> None:
    a = Space(ConfigurationSpace({"learning_rate": (1e-4, 1e-3)}))
    b = Space(ConfigurationSpace({"learning_rate": (1e-4, 1e-2)}))
    assert a.fingerprint != b.fingerprint
    assert a.fingerprint == Space(ConfigurationSpace({"learning_rate": (1e-4, 1e-3)})).fingerprint


@pytest.mark.parametrize("bad", [ConfigurationSpace(), {"learning_rate": (0, 1)}])
def test_what_is_no_space_is_refused(bad: object) -> None:
    with pytest.raises(SpaceError):
        Space(bad)  # type: ignore[arg-type]
