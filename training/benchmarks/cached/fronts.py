"""Searches for a front of score and latency over cached runs, and how much of the pool's front they find."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.costs import BATCHES, StepTimes
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.methods import METHODS, Search, Setting
from training.benchmarks.cached.ours import Ours
from training.benchmarks.cached.peers_optuna import OptunaFront
from training.benchmarks.cached.pool import Pool

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class FrontMethod:
    """A row of the table.

    Attributes:
        name: as on the command line.
        note: what the table says of it.
        make: builds the search; the surrogate is meta-trained, or learns from the search alone.
        seconds: about how long a search over 200 epochs takes on one busy core.
    """

    name: str
    note: str
    make: Callable[[Tradeoff, Surrogate], Search]
    seconds: float


_ALL = (
    FrontMethod("fms-front", "ours, EHVI at the horizon", lambda t, s: Ours(s, tradeoff=t), 60),
    FrontMethod("fms-score", "ours, EI of the score alone", lambda _, s: Ours(s), 60),
    FrontMethod("nsga2", "Optuna NSGA-II, full runs, snaps", lambda t, _: OptunaFront(t), 1),
    FrontMethod("random", "random runs to their ends", lambda *_: METHODS["random"].make(Setting()), 0.1),
)
FRONT_METHODS: Mapping[str, FrontMethod] = {method.name: method for method in _ALL}


def latencies(pool: Pool, times: StepTimes) -> Tradeoff | None:
    """Milliseconds that a training step takes for one image, the stand-in for a candidate's latency.

    None where all candidates of the pool's runs take equally long, so that there is nothing to weigh.

    Raises:
        UsageError: an architecture was not measured.
    """
    names = sorted({run.candidate for run in pool.runs})
    small = BATCHES[0]
    costs = {name: 1e3 * times.step(pool.candidates[name].architecture, small) / small for name in names}
    return Tradeoff("latency", costs) if len(set(costs.values())) > 1 else None


def shares(pool: Pool, history: Sequence[Observation], tradeoff: Tradeoff, budget: int) -> Vector:
    """Hypervolume of what was paid for over that of the whole pool, after 1 .. budget epochs, (budget,).

    The reference is the score of guessing and the latency that `Tradeoff` says; in [0, 1], ascending. A
    search that ended before its budget keeps its last value. Where nothing beats guessing it is 1 throughout.
    """
    worst = 1.0 / pool.task.classes
    whole = tradeoff.hypervolume(everything(pool), worst)
    if whole == 0.0:
        return np.ones(budget)
    found = np.zeros(budget)
    for epochs in range(1, budget + 1):
        if epochs <= len(history):
            found[epochs - 1] = tradeoff.hypervolume(history[:epochs], worst) / whole
        else:
            found[epochs - 1] = found[epochs - 2] if epochs > 1 else 0.0
    return found


def everything(pool: Pool) -> tuple[Observation, ...]:
    """What a search without a limit would have seen."""
    environment = Environment(pool, sum(run.epochs for run in pool.runs))
    for index, run in enumerate(pool.runs):
        for _ in range(run.epochs):
            environment.advance(index)
    return environment.history
