"""Intervals, ranks, rank correlation and the noise ceiling, against numbers worked out elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.statistics import (
    Repeated,
    between_seeds,
    clustered,
    kendall,
    noise_ceiling,
    ranks,
    worse,
)


def test_an_interval_of_many_tasks_is_that_of_their_means() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(0.5, 0.1, 60)
    values = {str(task): (mean + rng.normal(0, 0.01, 10)).tolist() for task, mean in enumerate(means)}
    found = clustered(values)
    half = 1.96 * means.std() / np.sqrt(60)
    assert found.value == pytest.approx(np.mean([np.mean(v) for v in values.values()]))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_seeds_of_one_task_do_not_stand_for_tasks() -> None:
    # 200 searches on two tasks that differ say no more than two numbers do.
    values = {"a": [0.2] * 100, "b": [0.8] * 100}
    found = clustered(values)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.2, 0.8))
    alone = clustered({"a": [0.1, 0.3] * 50})
    assert 0.15 < alone.low < alone.value < alone.high < 0.25


def test_tasks_of_unequal_size_count_alike() -> None:
    found = clustered({"a": [0.0] * 30, "b": [1.0]})
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    assert clustered({"a": [0.4, 0.4], "b": [0.4]}).high == pytest.approx(0.4)


@pytest.mark.parametrize("values", [{}, {"a": []}, {"a": [np.nan]}])
def test_nothing_has_no_interval(values: dict[str, list[float]]) -> None:
    with pytest.raises(ValueError, match="finite values"):
        clustered(values)


@pytest.mark.parametrize(("methods", "q"), [(2, 1.960), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_demsars(methods: int, q: float) -> None:
    # Demsar 2006, table 5a.
    losses = np.tile(np.arange(methods, dtype=float), (20, 1))
    expected = q * np.sqrt(methods * (methods + 1) / (6 * 20))
    assert ranks(losses).difference == pytest.approx(expected, rel=1e-3)


def test_ranks_worked_by_hand() -> None:
    found = ranks(np.array([[0.1, 0.2, 0.3], [0.5, 0.5, 0.1]]))
    assert found.mean.tolist() == [(1 + 2.5) / 2, (2 + 2.5) / 2, (3 + 1) / 2]
    assert found.blocks == 2
    with pytest.raises(ValueError, match="two methods"):
        ranks(np.zeros((3, 1)))


def test_tau_is_of_scores_and_not_of_lists_of_positions() -> None:
    true = np.array([0.9, 0.1, 0.5, 0.7])
    assert kendall(2 * true, true) == 1.0
    # The lists of positions, best first, of these two agree less than their scores do.
    predicted = np.array([0.8, 0.2, 0.6, 0.9])
    assert kendall(predicted, true) == pytest.approx(4 / 6)
    assert kendall(np.argsort(-predicted).astype(float), np.argsort(-true).astype(float)) != pytest.approx(
        4 / 6
    )


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=30))
def test_tau_is_symmetric_and_within_bounds(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    assert kendall(a, b) == pytest.approx(kendall(b, a))
    assert -1 - 1e-9 <= kendall(a, b) <= 1 + 1e-9
    assert kendall(a, -b) == pytest.approx(-kendall(a, b))


def test_scores_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="aligned"):
        kendall(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="finite"):
        kendall(np.array([1.0, np.nan]), np.zeros(2))
    assert kendall(np.zeros(3), np.arange(3.0)) == 0


def normal_task(rng: np.random.Generator, noise: float, runs: int = 400, repeats: int = 60) -> Repeated:
    m = rng.normal(size=runs)
    y = m + rng.normal(0, noise, runs)
    again = rng.normal(size=repeats)[:, None] + rng.normal(0, noise, (repeats, 2))
    return Repeated(y, tuple(tuple(pair) for pair in again.tolist()))


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_the_ceiling_of_normal_scores_is_greiners(noise: float) -> None:
    rng = np.random.default_rng(0)
    tasks = {str(k): normal_task(rng, noise, repeats=200) for k in range(3)}
    reliability = 1 / (1 + noise**2)
    expected = 2 / np.pi * np.arcsin(np.sqrt(reliability))
    found = noise_ceiling(tasks, resamples=20)
    assert found.value == pytest.approx(expected, abs=0.03)
    assert found.low < expected < found.high
    # Two seeds agree less: 2 / pi asin(reliability).
    pair = between_seeds(tasks)
    assert pair.low < 2 / np.pi * np.arcsin(reliability) < pair.high
    assert pair.value < found.value


def test_without_noise_the_ceiling_is_1_and_without_signal_0() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=50)
    exact = Repeated(scores, tuple((s, s) for s in scores[:10]))
    assert noise_ceiling({"a": exact}, resamples=5).value == 1.0
    pairs = tuple(tuple(p) for p in rng.normal(size=(30, 2)).tolist())
    chance = Repeated(rng.normal(0, 0.5, 50), pairs)
    assert noise_ceiling({"a": chance}, resamples=5).value == 0.0


def test_a_task_with_few_repeats_takes_the_noise_of_all() -> None:
    rng = np.random.default_rng(0)
    task = normal_task(rng, 0.5, repeats=400)
    poor = Repeated(normal_task(rng, 0.5).finals, ())
    found = noise_ceiling({"rich": task, "poor": poor}, resamples=5)
    assert found.value == pytest.approx(2 / np.pi * np.arcsin(np.sqrt(0.8)), abs=0.04)
    with pytest.raises(ValueError, match="two seeds"):
        noise_ceiling({"poor": poor})


def test_configurations_repeated_for_being_the_best_do_not_count(make_pool: Callable[..., Pool]) -> None:
    pool = make_pool(4)
    repeats = {pool.runs[0].id: (0.1, 0.2), pool.runs[1].id: (0.9, 0.9, 0.8)}
    found = Repeated.of(replace(pool, repeats=repeats))
    assert found.repeats == ((0.1, 0.2),)
    assert found.finals.tolist() == [run.final for run in pool.runs]


def test_worse_is_said_only_of_what_stands_out() -> None:
    rng = np.random.default_rng(0)
    chance = {str(t): rng.normal(0.5, 0.1, 10).tolist() for t in range(20)}
    equal = {str(t): rng.normal(0.5, 0.1, 10).tolist() for t in range(20)}
    assert worse(equal, chance) == []
    assert worse(equal | {"3": [0.9 + v for v in chance["3"]]}, chance) == ["3"]
    assert worse({"a": [1.0, 1.0]}, {"a": [0.5, 0.5]}) == ["a"]
    assert worse({"a": [0.5, 0.5]}, {"a": [0.5, 0.5]}) == []
    # One task: the plain one-sided t test.
    a, b = chance["0"], [v - 0.08 for v in chance["1"]]
    p = stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue
    assert worse({"0": a}, {"0": b}) == (["0"] if p < 0.05 else [])
