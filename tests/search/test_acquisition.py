"""Acquisition: against numbers worked out by hand, by quadrature, and far out in the tails."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from fms_hub.records import Observation
from fms_hub.search.acquisition import incumbents, log_expected_improvement
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
        ("horizon", [0.6, 0.6, 0.6, 0.6]),
    ],
)
def test_incumbents_match_the_table(rule: str, expected: list[float]) -> None:
    found = incumbents(HISTORY, np.array([1, 2, 3, 4]), 4, rule)  # type: ignore[arg-type]
    assert found.tolist() == expected


def test_rules_differ_where_a_curve_falls() -> None:
    falling = [seen(0, 1, 0.7), seen(0, 2, 0.2)]
    epochs = np.array([1, 2])
    assert incumbents(falling, epochs, 4, "at-fidelity").tolist() == [0.7, 0.2]
    assert incumbents(falling, epochs, 4, "running-max").tolist() == [0.7, 0.7]


def test_without_scores_the_incumbent_is_zero() -> None:
    for rule in ("at-fidelity", "running-max", "horizon"):
        assert incumbents([seen(0, 1, None)], np.array([1, 2]), 4, rule).tolist() == [0.0, 0.0]
