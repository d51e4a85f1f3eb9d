"""Forests are fitted once for what they depend on, and come back as they were."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fms_hub.surrogate.forest import Forest
from training.meta.boosting import Boosting, boosted
from training.meta.shelf import Shelf

RNG = np.random.default_rng(0)
X, Y, WITHOUT = RNG.random((200, 3)), RNG.random(200), np.array([1])


@pytest.fixture
def fit() -> tuple[Callable[[], Forest], list[int]]:
    """A fit, and a list that grows with each."""
    calls: list[int] = []

    def fitted() -> Forest:
        calls.append(1)
        return boosted(X, Y, Boosting(trees=5, rate=0.1, depth=2, smallest=5, rows=0.5, columns=1.0), 0)

    return fitted, calls


def test_a_forest_is_fitted_once_and_comes_back_the_same(
    tmp_path: Path, fit: tuple[Callable[[], Forest], list[int]]
) -> None:
    fitted, calls = fit
    first = Shelf(tmp_path / "forests").forest(fitted, X, Y, WITHOUT, "seed 0")
    again = Shelf(tmp_path / "forests").forest(fitted, X, Y, WITHOUT, "seed 0")
    assert len(calls) == 1
    np.testing.assert_array_equal(first.predict(X), again.predict(X))
    assert first.predict(X).std() > 0.0
    assert not list((tmp_path / "forests").glob("*.partial"))


def test_other_rows_gains_columns_or_settings_are_another_forest(
    tmp_path: Path, fit: tuple[Callable[[], Forest], list[int]]
) -> None:
    fitted, calls = fit
    shelf = Shelf(tmp_path)
    others = [
        (X + 1.0, Y, WITHOUT, "seed 0"),
        (X, Y + 1.0, WITHOUT, "seed 0"),
        (X, Y, np.array([2]), "seed 0"),
        (X, Y, WITHOUT, "seed 1"),
    ]
    shelf.forest(fitted, X, Y, WITHOUT, "seed 0")
    for other in others:
        shelf.forest(fitted, *other)
    assert len(calls) == 5
