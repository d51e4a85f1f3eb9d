"""The cost model: what was measured before, sharpened by what epochs really took."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fms_hub.records import Observation, Value
from fms_hub.search.cost import CostModel

NAMES = ("small", "large", "unknown")


def epoch(candidate: str, seconds: float, overhead: float = 0.0, **values: Value) -> Observation:
    return Observation(0, candidate, values, 1, 3, 0.5, seconds=seconds, overhead=overhead)


def test_before_anything_was_trained_it_says_what_was_measured() -> None:
    model = CostModel.prior(NAMES, {"small": 2.0, "large": 8.0})
    assert model.seconds([("small", {}), ("large", {}), ("unknown", {})]) == pytest.approx([2.0, 8.0, 5.0])
    assert CostModel.prior(NAMES).seconds([("small", {})]) == pytest.approx([1.0])


def test_a_machine_that_is_slower_than_measured_is_slower_for_all() -> None:
    model = CostModel.prior(NAMES, {"small": 2.0, "large": 8.0}).after([epoch("small", 6.0)] * 5)
    small, large = model.seconds([("small", {}), ("large", {})])
    assert small == pytest.approx(6.0, rel=0.05)
    assert 14.0 < large < 24.0


def test_settings_that_make_epochs_cheaper_are_found_out() -> None:
    rng = np.random.default_rng(0)
    history = [
        epoch("small", float(3.0 * np.exp(-1.0 * frozen + 0.05 * rng.normal())), frozen=float(frozen))
        for frozen in rng.choice([0.0, 0.5, 1.0], 40)
    ]
    model = CostModel.prior(NAMES).after(history)
    whole, frozen = model.seconds([("small", {}), ("small", {"frozen": 1.0})])
    assert whole == pytest.approx(3.0, rel=0.1)
    assert frozen == pytest.approx(3.0 * np.exp(-1.0), rel=0.15)


def test_overhead_counts_and_epochs_without_time_do_not() -> None:
    prior = CostModel.prior(NAMES)
    assert prior.after([epoch("small", 0.0)]) is prior
    model = prior.after([epoch("small", 1.0, overhead=3.0)] * 10)
    assert model.seconds([("small", {})])[0] == pytest.approx(4.0, rel=0.05)


def test_it_is_bayesian_linear_regression_in_logarithms() -> None:
    """Against the normal equations: (P + X'X / s^2) b = X'y / s^2 (Bishop 2006, eq. 3.53)."""
    history = [epoch("small", 2.0, batch_size=16), epoch("large", 5.0), epoch("large", 4.0, augmentation=0.5)]
    prior = CostModel.prior(NAMES)
    x = np.array([[1, 1, 0, 0, -1, 0, 0], [1, 0, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0, 0.5]])
    precision = np.linalg.inv(prior.covariance)
    b = np.linalg.solve(precision + x.T @ x / 0.04, x.T @ np.log([2.0, 5.0, 4.0]) / 0.04)
    np.testing.assert_allclose(prior.after(history).mean, b, rtol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.floats(1e-3, 1e4)), min_size=1, max_size=30))
def test_any_history_gives_positive_seconds_and_more_of_it_no_less_certainty(
    seen: list[tuple[str, float]],
) -> None:
    prior = CostModel.prior(NAMES, {"large": 3.0})
    model = prior.after([epoch(name, seconds) for name, seconds in seen])
    found = model.seconds([(name, {"frozen": 0.5}) for name in NAMES])
    assert (np.isfinite(found) & (found > 0)).all()
    assert (np.diag(model.covariance) <= np.diag(prior.covariance) + 1e-9).all()
