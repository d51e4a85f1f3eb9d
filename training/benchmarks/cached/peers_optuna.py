"""Optuna's samplers and pruners on a pool.

A sampler is asked as always; its proposal is replaced by the nearest untried row before Optuna records it, so
that it learns from what was really trained. A failed run is told as score 0. Its Gaussian process learns from
complete trials alone, of which pruning leaves next to none, so for it a stopped run is complete with its
last score; the tree-structured Parzen estimator knows what to do with pruned ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.pruners import BasePruner, HyperbandPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from fms_hub.records import Value
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.seeding import seeded
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.halving import ETA
from training.benchmarks.cached.snapping import CANDIDATE, Axis, Snap, active, axes

POPULATION = 10
"""Of NSGA-II: of Optuna's 50 full runs no generation but the first would fit a budget of 200 epochs."""


class OptunaSearch:
    """A search by Optuna.

    Args:
        sampler: ``"tpe"`` or ``"gp"``, with Optuna's defaults.
        pruner: ``"hyperband"`` or ``"halving"``, from one epoch on, reduction factor `ETA`.
    """

    def __init__(self, sampler: Literal["tpe", "gp"], pruner: Literal["hyperband", "halving"]) -> None:
        self.sampler, self.pruner = sampler, pruner

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Search until `BudgetSpent`, or `Exhausted`."""
        seed = int(rng.integers(2**31))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with seeded(seed), warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            sampler: BaseSampler = TPESampler(seed=seed) if self.sampler == "tpe" else GPSampler(seed=seed)
            snapping = _Snapping(sampler, environment)
            study = optuna.create_study(
                direction="maximize",
                sampler=snapping,
                pruner=self._pruner(environment.horizon),
                study_name="pool",  # Hyperband draws a trial's bracket from this name and its number
            )
            stopped = TrialState.PRUNED if self.sampler == "tpe" else TrialState.COMPLETE
            while True:
                _train(study, environment, snapping, stopped)

    def _pruner(self, horizon: int) -> BasePruner:
        if self.pruner == "hyperband":
            return HyperbandPruner(min_resource=1, max_resource=horizon, reduction_factor=ETA)
        return SuccessiveHalvingPruner(min_resource=1, reduction_factor=ETA)


class OptunaFront:
    """A search by Optuna's NSGA-II (Deb et al. 2002) for a high score and a low cost, of full runs.

    Optuna stops no run early where there are two objectives. A failed run is told as score 0, any other as
    its best score.

    Args:
        tradeoff: the cost.
    """

    def __init__(self, tradeoff: Tradeoff) -> None:
        self.tradeoff = tradeoff

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Search until `BudgetSpent`, or `Exhausted`."""
        seed = int(rng.integers(2**31))
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with seeded(seed):
            sampler = NSGAIISampler(population_size=POPULATION, seed=seed)
            snapping = _Snapping(sampler, environment)
            study = optuna.create_study(directions=["maximize", "minimize"], sampler=snapping)
            while True:
                trial = study.ask()
                snapping.suggest(trial)
                row = snapping.row
                score = _full_run(environment, row)
                study.tell(trial, [score, self.tradeoff.costs[environment.configurations[row].candidate]])


def _full_run(environment: Environment, index: int) -> float:
    best = 0.0
    while not environment.done(index):
        score = environment.advance(index).score
        if score is None:
            return 0.0
        best = max(best, score)
    return best


def _train(study: Study, environment: Environment, snapping: _Snapping, stopped: TrialState) -> None:
    trial = study.ask()
    snapping.suggest(trial)
    index = snapping.row
    while not environment.done(index):
        step = environment.advance(index)
        trial.report(step.score or 0.0, step.epoch)
        if not step.done and trial.should_prune():
            # Of a pruned trial Optuna takes the last report for its value.
            study.tell(trial, None if stopped == TrialState.PRUNED else step.score, state=stopped)
            return
    study.tell(trial, step.score or 0.0)


class _Snapping(BaseSampler):
    """Another sampler whose proposals snap to rows.

    Args:
        inner: the sampler that proposes.
        environment: of the search.
    """

    def __init__(self, inner: BaseSampler, environment: Environment) -> None:
        self._inner = inner
        self._environment = environment
        self._snap = Snap(environment)
        self._axes = axes(environment)
        self.row = -1

    def suggest(self, trial: Trial) -> None:
        """Make a trial take on the values of `row`."""
        row = self._row()
        for axis in self._axes:
            if axis.name in row:
                _suggest(trial, axis)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All dimensions: those that the inner sampler draws one by one are drawn here too."""
        return {axis.name: _distribution(axis) for axis in self._axes}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The values of the row that is nearest to the inner sampler's proposal."""
        inner = self._inner.infer_relative_search_space(study, trial)
        drawn = self._inner.sample_relative(study, trial, inner)
        for name, distribution in search_space.items():
            if name not in drawn:
                drawn[name] = self._inner.sample_independent(study, trial, name, distribution)
        proposal = {axis.name: _value(axis, drawn[axis.name]) for axis in self._axes}
        self.row = self._snap.nearest(proposal)
        row = self._row()
        return {axis.name: _internal(axis, row[axis.name]) for axis in self._axes if axis.name in row}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As the inner sampler."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """As the inner sampler."""
        self._inner.before_trial(study, trial)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """As the inner sampler."""
        self._inner.after_trial(study, trial, state, values)

    def _row(self) -> dict[str, Value]:
        chosen = self._environment.configurations[self.row]
        values = active(self._environment.configspace, chosen.hyperparameters)
        return {**values, CANDIDATE: chosen.candidate}


def _distribution(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.levels:
        return IntDistribution(0, len(axis.levels) - 1)
    return FloatDistribution(axis.low, axis.high)


def _suggest(trial: Trial, axis: Axis) -> None:
    if axis.choices:
        trial.suggest_categorical(axis.name, axis.choices)
    elif axis.levels:
        trial.suggest_int(axis.name, 0, len(axis.levels) - 1)
    else:
        trial.suggest_float(axis.name, axis.low, axis.high)


def _value(axis: Axis, drawn: Any) -> Value:
    """From what Optuna draws, in coordinates, to the hyperparameter."""
    if axis.choices:
        choice: Value = drawn
        return choice
    return axis.value(float(drawn))


def _internal(axis: Axis, value: Value) -> Value:
    if axis.choices:
        return value
    coordinate = axis.coordinate(value)
    return int(coordinate) if axis.levels else coordinate
