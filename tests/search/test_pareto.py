"""Fronts of two objectives: areas counted by hand, expectations by quadrature and by drawing."""

import numpy as np
import pytest
import torch
from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
from botorch.utils.multi_objective.box_decompositions.non_dominated import NondominatedPartitioning
from botorch.utils.testing import MockModel, MockPosterior
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import norm

from fms_hub.search.acquisition import log_expected_improvement
from fms_hub.search.pareto import Strips, hypervolume, log_improvement, log_improvement_at_gain, undominated
from fms_hub.surrogate.posterior import Posterior

Vector = NDArray[np.float64]
# Two of these make no difference: (0.3, 0.3) is dominated, (0.9, -0.1) lies below the reference.
SCORES = np.array([0.8, 0.5, 0.3, 0.9, 0.2])
GAINS = np.array([0.2, 0.5, 0.3, -0.1, 0.9])
REFERENCE = (0.1, 0.0)
points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12)


def split(pairs: list[tuple[int, int]]) -> tuple[Vector, Vector]:
    scores, gains = np.array(pairs, dtype=np.float64).reshape(len(pairs), 2).T
    return scores, gains


def normal(mean: float, std: float) -> Posterior:
    return Posterior(np.array([mean]), np.array([std]))


def test_an_area_counted_by_hand() -> None:
    # Over the reference: 0.7 x 0.2, then 0.4 x (0.5 - 0.2), then 0.1 x (0.9 - 0.5).
    assert hypervolume(SCORES, GAINS, REFERENCE) == pytest.approx(0.14 + 0.12 + 0.04)
    assert hypervolume(SCORES[:0], GAINS[:0], REFERENCE) == 0.0
    assert hypervolume(SCORES[3:4], GAINS[3:4], REFERENCE) == 0.0


def test_the_strips_of_a_front() -> None:
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    assert strips.lower.tolist() == [0.0, 0.2, 0.5, 0.9]
    assert strips.upper.tolist() == [0.2, 0.5, 0.9, np.inf]
    assert strips.floor.tolist() == [0.8, 0.5, 0.2, 0.1]


@given(points)
@settings(max_examples=150, deadline=None)
def test_undominated_points_are_those_that_nobody_beats(pairs: list[tuple[int, int]]) -> None:
    expected = [
        not any(
            (other[0] >= own[0] and other[1] >= own[1] and other != own) or (other == own and j < i)
            for j, other in enumerate(pairs)
        )
        for i, own in enumerate(pairs)
    ]
    assert undominated(*split(pairs)).tolist() == expected


@given(points)
@settings(max_examples=150, deadline=None)
def test_the_hypervolume_counts_the_unit_squares_below_the_front(pairs: list[tuple[int, int]]) -> None:
    squares = {(a, b) for score, gain in pairs for a in range(2, score) for b in range(1, gain)}
    assert hypervolume(*split(pairs), (2.0, 1.0)) == pytest.approx(len(squares))


def test_the_improvement_of_two_normals_against_a_million_draws() -> None:
    rng = np.random.default_rng(5)
    score, gain = normal(0.55, 0.2), normal(0.45, 0.25)
    drawn = np.stack([rng.normal(0.55, 0.2, 1_000_000), rng.normal(0.45, 0.25, 1_000_000)])
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    improved = np.zeros(drawn.shape[1])
    for lower, upper, floor in zip(strips.lower, strips.upper, strips.floor, strict=True):
        improved += np.clip(drawn[1] - lower, 0, upper - lower) * np.maximum(drawn[0] - floor, 0)
    # The strips themselves against areas without and with a point, for a few of the draws.
    for number in range(50):
        with_it = hypervolume(
            np.append(SCORES, drawn[0, number]), np.append(GAINS, drawn[1, number]), REFERENCE
        )
        assert improved[number] == pytest.approx(with_it - hypervolume(SCORES, GAINS, REFERENCE), abs=1e-12)
    found = float(np.exp(log_improvement(score, gain, strips))[0])
    error = improved.std() / 1000
    assert abs(found - improved.mean()) < 4 * error < 0.01 * found


def test_the_improvement_of_two_normals_against_the_integral_over_the_gain() -> None:
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    score, mean, std = normal(0.3, 0.15), 0.6, 0.2

    def integrand(value: float) -> float:
        improvement = np.exp(log_improvement_at_gain(score, np.array([value]), strips))[0]
        return float(improvement * norm.pdf(value, mean, std))

    expected, _ = quad(integrand, 1e-9, 2.5, points=[0.2, 0.5, 0.9], epsabs=0, epsrel=1e-10, limit=200)
    assert np.exp(log_improvement(score, normal(mean, std), strips))[0] == pytest.approx(expected, rel=1e-8)


def test_a_gain_known_exactly_is_the_limit_of_one_known_ever_better() -> None:
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    score, gains = Posterior(np.array([0.4, 0.9, 0.1]), np.full(3, 0.1)), np.array([0.35, 0.1, 0.95])
    exact = log_improvement_at_gain(score, gains, strips)
    near = log_improvement(score, Posterior(gains, np.full(3, 1e-6)), strips)
    np.testing.assert_allclose(near, exact, rtol=1e-4)


def test_without_a_front_it_is_the_expected_improvement_times_the_gain() -> None:
    strips = Strips.above(np.zeros(0), np.zeros(0), REFERENCE)
    found = log_improvement_at_gain(normal(0.4, 0.1), np.array([0.5]), strips)
    expected = log_expected_improvement(normal(0.4, 0.1), np.array([0.1])) + np.log(0.5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_gain_below_the_reference_promises_nothing() -> None:
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    assert log_improvement_at_gain(normal(0.9, 0.1), np.array([-0.5]), strips)[0] == -np.inf


def test_far_below_the_front_it_stays_finite_and_ordered() -> None:
    strips = Strips.above(np.array([0.9]), np.array([1.0]), REFERENCE)
    means = -np.logspace(0, 6, 30)
    exact = log_improvement_at_gain(Posterior(means, np.full(30, 0.01)), np.ones(30), strips)
    assert np.isfinite(exact).all() and (np.diff(exact) < 0).all()
    both = log_improvement(Posterior(means, np.full(30, 0.01)), Posterior(means, np.full(30, 0.01)), strips)
    assert np.isfinite(both).all() and (np.diff(both) < 0).all()


@given(points, st.floats(0, 8), st.floats(0.1, 8), st.floats(0.01, 3))
@settings(max_examples=100, deadline=None)
def test_a_higher_score_or_gain_promises_more(
    pairs: list[tuple[int, int]], mean: float, gain: float, std: float
) -> None:
    strips = Strips.above(*split(pairs), (0.0, 0.0))
    score = Posterior(np.array([mean, mean + 0.5, mean]), np.full(3, std))
    here, better, cheaper = log_improvement_at_gain(score, np.array([gain, gain, gain + 0.5]), strips)
    assert better > here
    assert cheaper > here


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_is_that_of_botorch(seed: int) -> None:
    rng = np.random.default_rng(seed)
    means, deviations = rng.uniform(0, 1, (6, 2)), rng.uniform(0.02, 0.4, (6, 2))
    front = torch.from_numpy(np.stack([SCORES, GAINS], axis=1))
    reference = torch.tensor(REFERENCE, dtype=torch.float64)
    believed = MockPosterior(
        mean=torch.from_numpy(means)[:, None], variance=torch.from_numpy(deviations**2)[:, None]
    )
    theirs = ExpectedHypervolumeImprovement(
        model=MockModel(believed),
        ref_point=list(REFERENCE),
        partitioning=NondominatedPartitioning(ref_point=reference, Y=front),
    )(torch.zeros(6, 1, 1, dtype=torch.float64))
    strips = Strips.above(SCORES, GAINS, REFERENCE)
    score, gain = (Posterior(means[:, i], deviations[:, i]) for i in (0, 1))
    np.testing.assert_allclose(np.exp(log_improvement(score, gain, strips)), theirs.numpy(), rtol=1e-5)
