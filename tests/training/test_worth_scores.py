import numpy as np
import pytest
from scipy import stats

from training.worth.scores import folds, interval, tau_within


def test_tau_is_scipys_tau_b_within_each_task_and_averaged() -> None:
    rng = np.random.default_rng(0)
    task = np.repeat([0, 1], [30, 20])
    true = rng.normal(size=50).round(1)
    predicted = (true + rng.normal(size=50) + 10 * task).round(1)
    taus = [stats.kendalltau(predicted[task == k], true[task == k]).statistic for k in (0, 1)]
    assert tau_within(task, predicted, true) == pytest.approx(np.mean(taus), abs=1e-6)
    assert tau_within(task, np.zeros(50), true) == 0


def test_interval_holds_the_value_and_a_pair_of_equals_differs_by_nothing() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=60)
    good = true + 0.5 * rng.normal(size=(3, 60))
    bad = true + 3 * rng.normal(size=(3, 60))
    task = np.zeros(60, dtype=np.int64)
    tau = interval(task, good, true)
    assert tau.low < tau.value < tau.high
    assert interval(task, good, true, good).high == 0
    assert interval(task, good, true, bad).low > 0


def test_a_run_drawn_twice_counts_as_two() -> None:
    # The bootstrap's weights must agree with repeating the runs themselves.
    from training.worth.scores import _Ranking

    rng = np.random.default_rng(1)
    task, times = np.zeros(12, dtype=np.int64), rng.integers(0, 3, 12)
    predicted, true = rng.normal(size=12), rng.normal(size=12)
    rows = np.repeat(np.arange(12), times)
    expected = stats.kendalltau(predicted[rows], true[rows]).statistic
    assert _Ranking(task, predicted, true).tau(times.astype(float)) == pytest.approx(expected, abs=1e-6)


def test_every_run_is_held_out_once() -> None:
    parts = list(folds(23, 0))
    assert sorted(np.concatenate([held for _, held in parts]).tolist()) == list(range(23))
    assert all(not set(train) & set(held) and len(train) + len(held) == 23 for train, held in parts)
    assert not np.array_equal(parts[0][1], next(folds(23, 1))[1])
