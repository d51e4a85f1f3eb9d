"""Four ways to spend the same seconds: grid, random, Bayesian optimisation, self-tuning.

Each begins with a run at, or from, the default hyperparameters.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import GPSampler

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.seeding import derived_seed
from training.benchmarks.online.problem import Problem
from training.benchmarks.online.training import Clock, Run, constant, train_fixed, train_tuned

LEVELS = (0.05, 0.35, 0.65)
"""Of each range, for the grid, whose points are visited in a random order: there are 3 ** h of them."""
FIRST_RUNS = 3
"""Before Bayesian search asks its process, the defaults among them; Optuna's ten would be all of them."""

Search = Callable[[Problem, int, float], list[Run]]
"""From a problem, a seed and processor seconds to the runs that fitted in; the last may be cut short."""


def grid(problem: Problem, seed: int, seconds: float) -> list[Run]:
    """Points of a grid, in a random order."""
    rng = np.random.default_rng(seed)

    def proposals() -> Iterator[list[float]]:
        while True:
            levels = rng.integers(len(LEVELS), size=len(problem.tunables))
            yield [_at(t, LEVELS[level]) for t, level in zip(problem.tunables, levels, strict=True)]

    return _fixed_runs(problem, proposals(), seed, seconds)


def random(problem: Problem, seed: int, seconds: float) -> list[Run]:
    """Uniform draws from the ranges, logarithmic where they are."""
    rng = np.random.default_rng(seed)

    def proposals() -> Iterator[list[float]]:
        while True:
            yield [
                _at(t, share)
                for t, share in zip(problem.tunables, rng.random(len(problem.tunables)), strict=True)
            ]

    return _fixed_runs(problem, proposals(), seed, seconds)


def bayesian(problem: Problem, seed: int, seconds: float) -> list[Run]:
    """Optuna's Gaussian process; it minimises a run's lowest validation loss."""
    clock = Clock()
    runs: list[Run] = []
    space = {t.name: FloatDistribution(t.low, t.high, log=t.log) for t in problem.tunables}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        study = optuna.create_study(sampler=GPSampler(seed=seed, n_startup_trials=FIRST_RUNS))
        study.enqueue_trial({t.name: t.start for t in problem.tunables})
        while clock.spent < seconds:
            trial = study.ask(dict(space))
            at = [t.unconstrain(trial.params[t.name]) for t in problem.tunables]
            run = train_fixed(problem, constant(at), _seed(seed, len(runs)), clock, seconds)
            study.tell(trial, min(point.validation for point in run.points))
            runs.append(run)
    return runs


def self_tuned(problem: Problem, seed: int, seconds: float) -> list[Run]:
    """Self-tuning runs, the first from the defaults, others from starts in the lower half of the ranges."""
    clock = Clock()
    runs: list[Run] = []
    rng = np.random.default_rng(seed)
    while clock.spent < seconds:
        shares = 0.5 * rng.random(len(problem.tunables))
        starts = [_moved(t, share) for t, share in zip(problem.tunables, shares, strict=True)]
        tunables = starts if runs else problem.tunables
        runs.append(train_tuned(problem, tunables, _seed(seed, len(runs)), clock, seconds))
    return runs


SEARCHES: Mapping[str, Search] = {
    "grid": grid,
    "random": random,
    "bayesian": bayesian,
    "self-tuning": self_tuned,
}


def started_at(problem: Problem, share: float) -> list[Tunable]:
    """The problem's tunables, all beginning at the same share of their range."""
    return [_moved(tunable, share) for tunable in problem.tunables]


def _fixed_runs(problem: Problem, proposals: Iterator[list[float]], seed: int, seconds: float) -> list[Run]:
    clock = Clock()
    runs: list[Run] = []
    for number, at in enumerate(itertools.chain([problem.defaults()], proposals)):
        runs.append(train_fixed(problem, constant(at), _seed(seed, number), clock, seconds))
        if clock.spent >= seconds:
            break
    return runs


def _seed(seed: int, number: int) -> int:
    return derived_seed("run", seed, number) % 2**31


def _moved(tunable: Tunable, share: float) -> Tunable:
    return dataclasses.replace(tunable, start=_value(tunable, share))


def _at(tunable: Tunable, share: float) -> float:
    return tunable.unconstrain(_value(tunable, share))


def _value(tunable: Tunable, share: float) -> float:
    if tunable.log:
        return float(tunable.low * (tunable.high / tunable.low) ** share)
    return tunable.low + share * (tunable.high - tunable.low)
