"""How good a search was: regret after every epoch.

Only validation scores choose: after t epochs the incumbent is the run that showed the highest validation
score so far, at any epoch, the earliest of equals. Three regrets look at it, each normalised over the pool
so that 0 is the best and 1 the worst there is:

    regret        (best - v) / (best - worst): v is the highest validation score paid for so far, best the
                  highest score of any run at any epoch, worst the lowest final score. What is in the user's
                  hands now; as in DyHPO (Wistuba et al. 2022) and ifBO (Rakotoarison et al. 2024).
    final regret  (best - f) / (best - worst) over final scores: f is the incumbent's score after its last
                  epoch, whether it was paid for or not. Whether the right run was found.
    test regret   the same over test scores after the last epoch, which no method sees; NaN where the corpus
                  has none of the incumbent.

A failed run's final and test scores are 0, and it can be the incumbent by what it showed before. Before
anything is seen, and where scores lie below the worst, regret is 1. Where all are equal, it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation
from training.benchmarks.cached.pool import Pool

Vector = NDArray[np.float64]
REGRETS = ("regret", "final regret", "test regret")


@dataclass(frozen=True)
class Curves:
    """Regrets after each epoch of the budget, (budget,) each; a search that ended early stays where it was.

    Attributes:
        regret, final, test: see the module.
        seconds: spent by then.
    """

    regret: Vector
    final: Vector
    test: Vector
    seconds: Vector

    def named(self, name: str) -> Vector:
        """One of `REGRETS`."""
        return {"regret": self.regret, "final regret": self.final, "test regret": self.test}[name]

    def at_seconds(self, name: str, seconds: float) -> float:
        """A regret when so much time was spent: after the last epoch that ended by then; 1 before the first.

        The search is over after its budget of epochs, so it does not improve beyond.
        """
        finished = int(np.searchsorted(self.seconds, seconds * (1 + 1e-9), side="right"))
        return 1.0 if finished == 0 else float(self.named(name)[finished - 1])


def score(pool: Pool, history: Sequence[Observation], budget: int) -> Curves:
    """The regrets of a search's history, whose runs are positions in the pool."""
    seen, chosen = -np.inf, -1
    values, runs, seconds = [], [], []
    for observation in history:
        if observation.score is not None and observation.score > seen:
            seen, chosen = observation.score, observation.run
        values.append(seen)
        runs.append(chosen)
        seconds.append(observation.seconds)
    finals = pool.finals()
    tested = np.array([run.tested for run in pool.runs])
    every = np.concatenate([np.array(run.scores) for run in pool.runs])
    final = _normalised(np.array([finals[run] if run >= 0 else -np.inf for run in runs]), finals)
    test = _normalised(np.array([tested[run] if run >= 0 else -np.inf for run in runs]), tested)
    regret = _normalised(np.array(values), finals, float(every.max(initial=0.0)))
    spent = np.cumsum(seconds)
    padded = [_padded(values, budget) for values in (regret, final, test, spent)]
    return Curves(*padded)


def _normalised(values: Vector, of: Vector, best: float | None = None) -> Vector:
    if np.isnan(of).all():
        return np.full(len(values), np.nan)
    top = float(np.nanmax(of)) if best is None else best
    worst = float(np.nanmin(of))
    if top <= worst:
        return np.zeros(len(values))
    return np.clip((top - values) / (top - worst), 0.0, 1.0)


def _padded(values: Vector, budget: int) -> Vector:
    """To the length of the budget with the last value; 1 where there is none."""
    last = values[-1] if len(values) else 1.0
    return np.concatenate([values, np.full(budget - len(values), last)])
