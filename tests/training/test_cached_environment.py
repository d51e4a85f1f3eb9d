"""The environment: an epoch is paid once, and what is not paid for is not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace
from hypothesis import given
from hypothesis import strategies as st

from fms_hub.errors import UsageError
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.pool import CachedRun, Pool
from training.benchmarks.cached.scoring import score
from training.benchmarks.cached.snapping import CANDIDATE, Axis, Exhausted, Snap, active, axes

MakePool = Callable[..., Pool]


def test_a_step_reveals_one_epoch_and_charges_it(make_pool: MakePool) -> None:
    pool = make_pool()
    environment = Environment(pool, budget=4, seconds=np.arange(1.0, 31.0))
    step = environment.advance(2)
    assert (step.score, step.epoch, step.done) == (pool.runs[2].scores[0], 1, False)
    environment.advance(0)
    assert environment.advance(2).epoch == 2
    assert [(o.run, o.epoch, o.seconds) for o in environment.history] == [
        (2, 1, 3.0),
        (0, 1, 1.0),
        (2, 2, 3.0),
    ]
    assert (environment.left, environment.reached(2), environment.reached(1)) == (1, 2, 0)
    assert set(range(30)) - set(environment.untried()) == {0, 2}


def test_the_budget_ends_the_search_and_reveals_nothing_more(make_pool: MakePool) -> None:
    environment = Environment(make_pool(), budget=2)
    environment.advance(0)
    environment.advance(0)
    before = environment.history
    with pytest.raises(BudgetSpent):
        environment.advance(0)
    assert environment.history == before
    assert environment.reached(0) == 2


def test_a_failed_epoch_is_charged_and_ends_the_run(make_pool: MakePool) -> None:
    pool = make_pool()
    environment = Environment(pool)
    steps = [environment.advance(9) for _ in range(3)]
    assert [step.done for step in steps] == [False, False, True]
    assert (steps[-1].score, environment.history[-1].reason) == (None, "diverged")
    with pytest.raises(ValueError, match="done after 3 epochs"):
        environment.advance(9)
    assert environment.left == 197


def test_sketches_are_those_that_were_paid_for(make_pool: MakePool) -> None:
    pool = make_pool()
    environment = Environment(pool)
    key = pool.runs[3].id
    start = environment.sketch(3, 0)
    assert start is not None
    assert start.tolist() == pool.sketches[key, 0].tolist()
    with pytest.raises(ValueError, match="not paid for"):
        environment.sketch(3, 1)
    environment.advance(3)
    found = environment.sketch(3, 1)
    assert found is not None
    found[:] = 7  # a copy: the pool is not changed
    assert environment.sketch(3, 1) is not None
    assert pool.sketches[key, 1].tolist() != found.tolist()
    environment.advance(3)
    assert environment.sketch(3, 2) is None


def test_a_candidates_own_sketch_stands_in_for_epoch_0(make_pool: MakePool) -> None:
    pool = replace(make_pool(), sketches={}, start={"small-cnn": np.ones(4)})
    assert Environment(pool).sketch(0, 0) is not None
    assert Environment(replace(pool, start={})).sketch(0, 0) is None


def test_a_wrong_budget_or_clock_is_refused(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(UsageError, match="at least one epoch"):
        Environment(pool, budget=0)
    for seconds in (np.ones(3), np.zeros(30)):
        with pytest.raises(UsageError, match="positive seconds of 30 runs"):
            Environment(pool, seconds=seconds)
    with pytest.raises(ValueError, match="no run 30"):
        Environment(pool).advance(30)


def by_hand(make_pool: MakePool) -> Pool:
    """Finals .5, .9 and 0 (failed); the best score of all is .95, in the middle of the second run."""
    runs = (
        CachedRun("a", "small-cnn", {}, 3, 0, (0.3, 0.4, 0.5), (None,) * 3, 0.6),
        CachedRun("b", "small-cnn", {}, 3, 0, (0.1, 0.95, 0.9), (None,) * 3, 0.8),
        CachedRun("c", "small-cnn", {}, 3, 0, (0.35,), (None,), None, "diverged"),
    )
    return replace(make_pool(1), runs=runs)


def test_regret_worked_by_hand(make_pool: MakePool) -> None:
    pool = by_hand(make_pool)
    environment = Environment(pool, budget=8, seconds=np.array([1.0, 2.0, 1.0]))
    for index in (0, 2, 2, 1, 1, 1):
        environment.advance(index)
    found = score(pool, environment.history, budget=8)
    # Seen so far: .3 .35 .35 .35 .95 .95, then nothing more happens; best .95, worst 0.
    values = np.array([0.3, 0.35, 0.35, 0.35, 0.95, 0.95, 0.95, 0.95])
    assert found.regret == pytest.approx((0.95 - values) / 0.95)
    # The incumbents are a, c, c, c, b, ...: finals .5, 0, .9 of best .9; tests .6, 0, .8 of best .8.
    assert found.final == pytest.approx((0.9 - np.array([0.5, 0, 0, 0, 0.9, 0.9, 0.9, 0.9])) / 0.9)
    assert found.test == pytest.approx((0.8 - np.array([0.6, 0, 0, 0, 0.8, 0.8, 0.8, 0.8])) / 0.8)
    assert found.seconds.tolist() == [1, 2, 3, 5, 7, 9, 9, 9]
    assert found.at_seconds("regret", 0.5) == 1.0
    assert found.at_seconds("regret", 4.9) == pytest.approx(0.6 / 0.95)
    assert found.at_seconds("regret", 100) == 0.0


def test_a_search_that_saw_nothing_regrets_everything(make_pool: MakePool) -> None:
    found = score(by_hand(make_pool), (), budget=3)
    assert found.regret.tolist() == found.final.tolist() == [1.0] * 3


@given(order=st.lists(st.integers(0, 11), max_size=60))
def test_regret_falls_from_at_most_1_to_at_least_0(order: list[int]) -> None:
    rng = np.random.default_rng(0)
    runs = tuple(
        CachedRun(str(i), "c", {}, 5, 0, tuple(rng.uniform(size=5)), (None,) * 5, 0.5) for i in range(12)
    )
    pool = Pool("h", None, {}, runs)  # type: ignore[arg-type]
    environment = Environment(pool, budget=60)
    for index in order:
        if not environment.done(index):
            environment.advance(index)
    found = score(pool, environment.history, budget=60)
    assert (np.diff(found.regret) <= 0).all()
    assert found.regret.min() >= 0
    assert found.regret.max() <= 1


def test_the_candidate_is_kept_as_long_as_it_has_untried_rows(make_pool: MakePool) -> None:
    pool = make_pool(12, hub="timm-tiny")
    environment = Environment(pool)
    snap = Snap(environment)
    wanted = {**pool.runs[4].hyperparameters, CANDIDATE: pool.runs[3].candidate}
    taken = []
    for _ in range(12):
        index = snap.nearest(wanted)
        taken.append(index)
        environment.advance(index)
    assert {pool.runs[i].candidate for i in taken[:4]} == {pool.runs[3].candidate}
    assert taken[4] == 4
    with pytest.raises(Exhausted):
        snap.nearest(wanted)


def test_the_distance_worked_by_hand(make_pool: MakePool) -> None:
    pool = make_pool(2, hub="timm-tiny")
    low, high = pool.space.default() | {"learning_rate": 1e-5}, pool.space.default() | {"learning_rate": 1e-1}
    high = high | {"dropout": 0.25}
    rows = (replace(pool.runs[0], hyperparameters=low), replace(pool.runs[1], hyperparameters=high))
    snap = Snap(Environment(replace(pool, runs=rows)))
    # Two columns vary: the rate from 0 to 1, dropout from 0 to 1/2. The second row is of another candidate.
    found = snap.distances({**low, CANDIDATE: pool.runs[0].candidate})
    assert found == pytest.approx([0.0, np.sqrt((1 + 0.25) / 2) + 1])


def test_inactive_hyperparameters_do_not_count(make_pool: MakePool) -> None:
    space: ConfigurationSpace = make_pool(3, hub="timm-tiny").configspace
    assert active(space, {"optimizer": "adamw", "momentum": 0.1}) == {"optimizer": "adamw"}
    assert active(space, {"optimizer": "sgd", "momentum": 0.1}) == {"optimizer": "sgd", "momentum": 0.1}


@pytest.mark.parametrize("hub", ["small-cnn", "timm-tiny"])
def test_every_row_survives_the_way_to_coordinates_and_back(make_pool: MakePool, hub: str) -> None:
    environment = Environment(make_pool(40, hub=hub))
    snap = Snap(environment)
    for index, row in enumerate(environment.configurations):
        values: dict[str, object] = {CANDIDATE: row.candidate}
        for axis in axes(environment):
            if axis.name in row.hyperparameters:
                value = row.hyperparameters[axis.name]
                values[axis.name] = value if axis.choices else axis.value(axis.coordinate(value))
        assert snap.distances(values)[index] == pytest.approx(0, abs=1e-6)  # type: ignore[arg-type]


def test_axes_of_numbers_by_hand() -> None:
    log = Axis("rate", low=float(np.log(1e-4)), high=float(np.log(1e-2)), log=True)
    assert log.value(log.coordinate(1e-3)) == pytest.approx(1e-3)
    assert log.coordinate(0.0) == log.low
    levels = Axis("batch", levels=(16.0, 32.0, 64.0), high=2.0)
    assert [levels.coordinate(32), levels.value(1.4), levels.value(9)] == [1.0, 32.0, 64.0]
