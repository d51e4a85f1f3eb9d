"""Acquisition: against numbers worked out by hand, by quadrature, and far out in the tails."""

from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from fms_hub.records import Observation
from fms_hub.search.acquisition import (
    CAUTION,
    Acquisition,
    Rule,
    Steps,
    incumbents,
    log_expected_improvement,
    log_probability_of_improvement,
)
from fms_hub.surrogate.posterior import Posterior


def log_ei(mean: float, std: float, best: float) -> float:
    value = log_expected_improvement(Posterior(np.array([mean]), np.array([std])), np.array([best]))
    return float(value[0])


@pytest.mark.parametrize(
    ("mean", "std", "best", "expected"),
    [
        # z = 0: EI = std * phi(0) = 0.1 * 0.3989422804
        (0.5, 0.1, 0.5, 0.03989422804),
        # z = 1: 0.1 * (phi(1) + Phi(1)) = 0.1 * (0.2419707245 + 0.8413447461)
        (0.6, 0.1, 0.5, 0.10833154706),
        # z = -1: 0.1 * (0.2419707245 - 0.1586552539)
        (0.4, 0.1, 0.5, 0.00833154706),
        # z = -2: 0.05 * (0.0539909665 - 2 * 0.0227501319)
        (0.4, 0.05, 0.5, 0.00042453513),
    ],
)
def test_expected_improvement_matches_the_table(
    mean: float, std: float, best: float, expected: float
) -> None:
    assert np.exp(log_ei(mean, std, best)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("z", [-8.0, -3.0, -1.0001, -0.9999, 0.3, 4.0])
def test_expected_improvement_matches_the_integral(z: float) -> None:
    std, best = 0.2, 0.5
    mean = best + z * std
    # In units of the tail's own density, so that the integrand does not underflow.
    integral, _ = quad(
        lambda t: t * np.exp(-0.5 * (t**2 - 2 * t * z)), 0, max(z, 0) + 40, epsabs=0, epsrel=1e-12
    )
    expected = np.log(std * integral) + norm.logpdf(z)
    assert log_ei(mean, std, best) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_far_below_the_incumbent_stays_finite_and_ordered() -> None:
    means = -np.logspace(0, 100, 60)
    values = log_expected_improvement(Posterior(means, np.ones(60)), np.zeros(60))
    assert np.isfinite(values).all()
    assert (np.diff(values) < 0).all()


@pytest.mark.parametrize("z", [-9e3, -1.1e4, -1e6])
def test_far_out_it_follows_the_asymptote(z: float) -> None:
    # phi(z) + z Phi(z) = phi(z) / z^2 (1 - 3 / z^2 + ...), Abramowitz and Stegun 26.2.12
    expected = -0.5 * np.log(2 * np.pi) - 2 * np.log(-z)
    assert log_ei(z, 1.0, 0.0) + 0.5 * z**2 == pytest.approx(expected, abs=1e-3)


def test_the_three_ranges_join_without_a_step() -> None:
    for edge in (-1.0, -1e4):
        around = np.array([edge * (1 + 1e-9), edge * (1 - 1e-9)])
        values = log_expected_improvement(Posterior(around, np.ones(2)), np.zeros(2))
        assert abs(values[1] - values[0]) < 1e-6 * abs(values[0]) + 1e-8


def seen(run: int, epoch: int, score: float | None) -> Observation:
    status = "ok" if score is not None else "failed"
    return Observation(run, "a", {}, epoch, 4, score, status=status)


HISTORY = [seen(0, 1, 0.5), seen(0, 2, 0.4), seen(1, 1, 0.3), seen(1, 2, 0.6), seen(2, 1, None)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # best at epochs 1, 2; nobody reached 3 and 4: best anywhere
        ("at-fidelity", [0.5, 0.6, 0.6, 0.6]),
        ("running-max", [0.5, 0.6, 0.6, 0.6]),
        ("ei", [0.6, 0.6, 0.6, 0.6]),
        ("ei-per-epoch", [0.6, 0.6, 0.6, 0.6]),
        ("ei-per-second", [0.6, 0.6, 0.6, 0.6]),
    ],
)
def test_incumbents_match_the_table(rule: str, expected: list[float]) -> None:
    found = incumbents(HISTORY, np.array([1, 2, 3, 4]), 4, rule)  # type: ignore[arg-type]
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("at-fidelity", [1, 3, 4]),
        ("running-max", [1, 3, 4]),
        ("ei", [4, 4, 4]),
        ("ei-per-epoch", [4, 4, 4]),
        ("ei-per-second", [4, 4, 4]),
        # two epochs ahead of the epochs done: 0 + 2, 2 + 2, and 3 + 2 cut at the horizon
        ("random-horizon", [2, 4, 4]),
    ],
)
def test_rules_ask_about_their_own_epochs(rule: Rule, expected: list[int]) -> None:
    acquisition = Acquisition(rule, horizon=4, ahead=2, reach=0.1)
    assert acquisition.asked(np.array([1, 3, 4])).tolist() == expected


def test_random_horizon_rates_the_probability_to_beat_a_threshold_above_the_best() -> None:
    acquisition = Acquisition("random-horizon", horizon=4, ahead=2, reach=0.1)
    # Best seen 0.6, so T = 0.6 + 0.1 * 0.4 = 0.64; z = (0.62 - 0.64) / 0.02 = -1, and P = Phi(-1).
    believed = Posterior(np.array([0.62]), np.array([0.02]))
    rated = acquisition.rate(believed, Steps(np.array([2]), np.array([3]), np.ones(1)), HISTORY)
    assert np.exp(rated[0]) == pytest.approx(0.1586552539, rel=1e-8)


def rated(
    rule: Rule, posterior: Posterior, following: list[int], seconds: list[float]
) -> NDArray[np.float64]:
    """At the end of runs of four epochs."""
    steps = Steps(np.array(following), np.full(len(following), 4), np.array(seconds))
    return Acquisition(rule, 4, 2, 0.1).rate(posterior, steps, HISTORY)


def test_improvement_per_epoch_counts_the_epochs_until_the_end() -> None:
    posterior, following, seconds = Posterior(np.full(3, 0.7), np.full(3, 0.1)), [2, 3, 4], [1.0, 5.0, 9.0]
    plain = rated("ei", posterior, following, seconds)
    assert np.ptp(plain) == 0.0
    np.testing.assert_allclose(
        plain - rated("ei-per-epoch", posterior, following, seconds), np.log([3, 2, 1]), atol=1e-12
    )


@pytest.mark.parametrize("rule", ["ei-per-epoch", "ei-per-second"])
def test_where_costs_count_a_run_that_has_not_begun_is_taken_with_caution(rule: Rule) -> None:
    fresh = rated(rule, Posterior(np.array([0.5]), np.array([0.1])), [1], [1.0])
    # Best seen 0.6; four epochs of a second.
    assert fresh[0] == pytest.approx(log_ei(0.5, CAUTION * 0.1, 0.6) - np.log(4), abs=1e-12)


def test_improvement_per_second_prefers_the_cheaper_of_equals_down_to_a_floor() -> None:
    posterior, following = Posterior(np.full(11, 0.7), np.full(11, 0.1)), [2] * 11
    seconds = [1e-6, *np.arange(1.0, 11.0).tolist()]
    per_epoch = rated("ei-per-epoch", posterior, following, seconds)
    per_second = rated("ei-per-second", posterior, following, seconds)
    # The 0.1 quantile of the seconds is 1: what costs less counts as 1.
    np.testing.assert_allclose(per_epoch - per_second, np.log(np.maximum(seconds, 1.0)), atol=1e-12)


def test_what_a_step_draws_lies_in_its_ranges_and_repeats() -> None:
    drawn = [Acquisition.draw("random-horizon", 5, np.random.default_rng(seed)) for seed in range(200)]
    assert {a.ahead for a in drawn} == {1, 2, 3, 4, 5}
    assert all(1e-4 <= a.reach <= 1e-1 for a in drawn)
    assert drawn[7] == Acquisition.draw("random-horizon", 5, np.random.default_rng(7))


def test_probability_of_improvement_stays_finite_far_below() -> None:
    value = log_probability_of_improvement(Posterior(np.array([-50.0]), np.ones(1)), np.zeros(1))
    # log Phi(-50), Abramowitz and Stegun 26.2.12
    assert value[0] == pytest.approx(-1250 - np.log(50) - 0.5 * np.log(2 * np.pi), abs=1e-3)


def test_rules_differ_where_a_curve_falls() -> None:
    falling = [seen(0, 1, 0.7), seen(0, 2, 0.2)]
    epochs = np.array([1, 2])
    assert incumbents(falling, epochs, 4, "at-fidelity").tolist() == [0.7, 0.2]
    assert incumbents(falling, epochs, 4, "running-max").tolist() == [0.7, 0.7]


def test_without_scores_the_incumbent_is_zero() -> None:
    for rule in get_args(Rule):
        assert incumbents([seen(0, 1, None)], np.array([1, 2]), 4, rule).tolist() == [0.0, 0.0]
