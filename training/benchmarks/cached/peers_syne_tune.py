"""syne-tune's schedulers on a pool, through their interface alone, without one of its backends.

Numbers are given to it as coordinates between their limits (logarithms where the space is logarithmic),
because its density estimates are not aware of scales. A failed run is told as score 0.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, uniform
from syne_tune.optimizer.baselines import ASHA, BOHB, CQR
from syne_tune.optimizer.scheduler import SchedulerDecision, TrialScheduler
from syne_tune.optimizer.schedulers.asha import (
    AsynchronousSuccessiveHalving,
)
from syne_tune.optimizer.schedulers.searchers import (
    last_value_multi_fidelity_searcher as last_value,
)

from fms_hub.records import Value
from fms_hub.seeding import seeded
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.halving import ETA
from training.benchmarks.cached.snapping import CANDIDATE, Axis, Exhausted, Snap, axes

Kind = Literal["asha", "bohb", "cqr", "asha-cqr"]
REFIT_EVERY = 2
"""Runs between two fits of the quantile regression under successive halving, about 10 epochs."""
_SCORE, _EPOCH = "score", "epoch"


class SyneTuneSearch:
    """A search by syne-tune, one worker.

    Args:
        kind: ``"asha"`` (Li et al. 2020, the stopping variant, random proposals), ``"bohb"`` (the same with
            a kernel density estimate on last scores, Falkner et al. 2018), ``"cqr"`` (conformal quantile
            regression, full runs, Salinas et al. 2023), ``"asha-cqr"`` (the two together).
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Search until `BudgetSpent`, or `Exhausted`."""
        seed = int(rng.integers(2**31))
        logging.getLogger("syne_tune").setLevel(logging.ERROR)
        with seeded(seed), warnings.catch_warnings():
            # Its own numerics; what comes out is snapped to a row in any case.
            warnings.simplefilter("ignore", RuntimeWarning)
            # statsmodels, which it draws its densities with, about a generator that is not used here.
            warnings.filterwarnings("ignore", "After 0.17", FutureWarning)
            found = axes(environment)
            scheduler = self._scheduler({axis.name: _domain(axis) for axis in found}, environment, seed)
            snap = Snap(environment)
            number = 0
            while True:
                _train(scheduler, environment, found, snap, number)
                number += 1

    def _scheduler(self, space: dict[str, Any], environment: Environment, seed: int) -> TrialScheduler:
        own = {"metric": _SCORE, "do_minimize": False, "random_seed": seed}
        if self.kind == "cqr":
            return CQR(space, **own)
        staged = {**own, "time_attr": _EPOCH, "max_t": environment.horizon, "reduction_factor": ETA}
        if self.kind == "bohb":
            # Its default is one too few for it ever to fit the density of the good ones.
            return BOHB(space, **staged, num_min_data_points=len(space) + 1)
        if self.kind == "asha":
            return ASHA(space, **staged)
        searcher = last_value.LastValueMultiFidelitySearcher(
            space, random_seed=seed, update_frequency=REFIT_EVERY, searcher="cqr"
        )
        return AsynchronousSuccessiveHalving(space, searcher=searcher, **staged)


def _train(
    scheduler: TrialScheduler,
    environment: Environment,
    found: tuple[Axis, ...],
    snap: Snap,
    number: int,
) -> None:
    suggestion = scheduler.suggest()
    if suggestion is None:
        raise Exhausted
    index = snap.nearest({axis.name: _value(axis, suggestion.config[axis.name]) for axis in found})
    trial = Trial(number, _config(environment, found, index, suggestion.config), datetime(2000, 1, 1))
    scheduler.on_trial_add(trial)
    while not environment.done(index):
        step = environment.advance(index)
        result = {_SCORE: step.score or 0.0, _EPOCH: step.epoch}
        decision = scheduler.on_trial_result(trial, result)
        if step.done:
            scheduler.on_trial_complete(trial, result)
        elif decision == SchedulerDecision.STOP:
            scheduler.on_trial_remove(trial)
            return


def _config(
    environment: Environment, found: tuple[Axis, ...], index: int, proposed: Mapping[str, Any]
) -> dict[str, Any]:
    """A row as syne-tune sees it; it keeps the proposed value of what is inactive in the row."""
    row = environment.configurations[index]
    values: dict[str, Value] = {**row.hyperparameters, CANDIDATE: row.candidate}
    return {
        axis.name: _internal(axis, values[axis.name]) if axis.name in values else proposed[axis.name]
        for axis in found
    }


def _domain(axis: Axis) -> Any:
    if axis.choices:
        return choice(list(axis.choices))
    return uniform(axis.low - 0.5, axis.high + 0.5) if axis.levels else uniform(axis.low, axis.high)


def _value(axis: Axis, proposed: Any) -> Value:
    if axis.choices:
        named: Value = proposed
        return named
    return axis.value(float(proposed))


def _internal(axis: Axis, value: Value) -> Value:
    return value if axis.choices else axis.coordinate(value)
