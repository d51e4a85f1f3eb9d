"""What a search has come to believe of configurations that it may never have trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fms_hub.search.encoding import Problem, Query, encode
from fms_hub.search.proposals import Configuration
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate


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
        problem = self.problem
        queries = [
            Query(
                configuration.candidate,
                configuration.hyperparameters,
                problem.horizon,
                problem.horizon,
                (),
                problem.start.get(configuration.candidate),
            )
            for configuration in configurations
        ]
        return problem.scores(self.surrogate.posterior(encode(problem, queries)))
