"""What a search has come to believe of configurations that it may never have trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fms_hub.search.encoding import Problem, Query, encode
from fms_hub.search.proposals import Configuration
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate

INTERVAL = 1.6448536269514722
"""Half the width of a 90 % interval in deviations."""


@dataclass(frozen=True)
class Belief:
    """A surrogate and what it is asked about.

    Attributes:
        problem: candidates, space, horizon and task.
        surrogate: conditioned on observations, or meta-trained.
    """

    problem: Problem
    surrogate: Surrogate

    @property
    def empty(self) -> bool:
        """Whether there is nothing to predict from: no observation and no meta-training."""
        return self.surrogate.data is None and self.surrogate.learned is None

    def full_runs(self, configurations: Sequence[Configuration]) -> Posterior:
        """The score that new runs would end with, in units of the score."""
        return self.problem.scores(self.surrogate.posterior(self.asked(configurations)))

    def outside(self, candidates: Sequence[str]) -> dict[str, float]:
        """How far each candidate's architecture lies beyond those that meta-training saw, >= 0; 0 is within.

        Intervals are wider by this factor plus one. Without meta-training nothing lies beyond.
        """
        if self.surrogate.learned is None:
            return dict.fromkeys(candidates, 0.0)
        default = self.problem.space.default()
        inputs = self.asked([Configuration(name, default) for name in candidates])
        return dict(zip(candidates, self.surrogate.learned.beyond(inputs).tolist(), strict=True))

    def asked(self, configurations: Sequence[Configuration]) -> Inputs:
        """The questions how new runs would end."""
        problem, queries = self.problem, []
        for asked in configurations:
            start, end = problem.start.get(asked.candidate), problem.horizon
            queries.append(Query(asked.candidate, asked.hyperparameters, end, end, (), start, start))
        return encode(problem, queries)


@dataclass(frozen=True)
class Forecast:
    """A predicted score in [0, 1], and the ends of a 90 % interval around it, in [0, 1]."""

    score: float
    low: float
    high: float

    @classmethod
    def of(cls, believed: Posterior, row: int) -> Forecast:
        """Of one row of what is believed, in units of the score."""
        mean, reach = float(believed.mean[row]), INTERVAL * float(believed.std[row])
        return cls(*(min(1.0, max(0.0, value)) for value in (mean, mean - reach, mean + reach)))
