"""Forecasting Model Search over cached runs: the package's own encoding, surrogate and acquisition.

n = runs of the pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Value
from fms_hub.search.acquisition import DEFAULT_RULE, Acquisition, Rule, Steps
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem, Query, answered, encode
from fms_hub.search.scheduler import fit_spread, may_begin
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.surrogate.inputs import WEIGHTS, Inputs
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.environment import Environment
from training.corpus.problem import latest, problem_of_task

Vector = NDArray[np.float64]
WITHOUT_WEIGHTS = frozenset(WEIGHTS)


@dataclass(frozen=True)
class Ours:
    """A search by a surrogate, meta-trained or from scratch.

    Attributes:
        surrogate: what the search starts from.
        rule: of the acquisition.
        refit: observations between two fits of the kernel's parameters; 0 keeps those of meta-training.
        without: groups of inputs that the surrogate is not shown, e.g. `WITHOUT_WEIGHTS`.
        tradeoff: a cost of the candidates to weigh against the score; None means that only the score counts.
    """

    surrogate: Surrogate
    rule: Rule = DEFAULT_RULE
    refit: int = 10
    without: frozenset[str] = frozenset()
    tradeoff: Tradeoff | None = None

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Search until `BudgetSpent`, or until every run is done."""
        state = State(environment, self.without)
        surrogate = self.surrogate
        while True:
            alive = np.array([i for i in range(state.runs) if not environment.done(i)], dtype=np.int64)
            if len(alive) == 0:
                return
            if not environment.history and self.surrogate.learned is None:
                environment.advance(int(rng.choice(alive)))
                continue
            if self.refit and len(environment.history) % self.refit == 0 and environment.history:
                surrogate = state.fitted(self.surrogate)
            under_way = state.reached(alive) > 0
            if under_way.any() and not may_begin(state.begun(), len(environment.history)):
                alive = alive[under_way]
            acquisition = Acquisition.draw(self.rule, environment.horizon, rng)
            following = state.reached(alive) + 1
            cost = state.cost.after(environment.history)
            seconds = cost.seconds([state.what(run) for run in alive.tolist()])
            asked = np.minimum(acquisition.asked(following), state.horizons[alive])
            steps = Steps(following, asked, seconds)
            believed = state.believe(surrogate, alive, steps.asked)
            if self.tradeoff is None:
                rating = acquisition.rate(believed, steps, environment.history)
            else:
                names = [state.what(run)[0] for run in alive.tolist()]
                improvement = self.tradeoff.log_improvement(
                    acquisition.cautious(believed, steps), names, environment.history, state.chance
                )
                rating = acquisition.for_cost(improvement, steps)
            environment.advance(int(alive[np.argmax(rating)]))

    def finals(self, environment: Environment) -> Posterior:
        """What it believes of the final scores of all runs, (n,), after what was paid for."""
        state = State(environment, self.without)
        surrogate = state.fitted(self.surrogate) if self.refit and environment.history else self.surrogate
        return state.believe(surrogate, np.arange(state.runs), state.horizons)


class State:
    """What a search knows, encoded.

    Args:
        environment: of the search.
        without: groups of inputs that are left out.
    """

    def __init__(self, environment: Environment, without: frozenset[str] = frozenset()) -> None:
        self._environment = environment
        self._without = without
        self._problem = problem_of(environment)
        self.chance = self._problem.chance
        self.runs = len(environment.configurations)
        self.cost = CostModel.prior(self._problem.candidates)
        self.horizons = np.array([c.horizon for c in environment.configurations], dtype=np.int64)

    def what(self, run: int) -> tuple[str, Mapping[str, Value]]:
        """A run's candidate and hyperparameters."""
        configuration = self._environment.configurations[run]
        return configuration.candidate, configuration.hyperparameters

    def reached(self, runs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Epochs paid for of some runs."""
        return np.array([self._environment.reached(int(run)) for run in runs], dtype=np.int64)

    def begun(self) -> int:
        """How many runs were paid for."""
        return len({observation.run for observation in self._environment.history})

    def fitted(self, base: Surrogate) -> Surrogate:
        """The base surrogate with its kernel fitted to what was seen."""
        return fit_spread(base, *self.known())

    def believe(self, surrogate: Surrogate, runs: NDArray[np.int64], epochs: NDArray[np.int64]) -> Posterior:
        """The scores of runs after the given epochs, given all that was seen."""
        inputs, scores = self.known()
        conditioned = surrogate.condition(inputs, scores) if len(scores) else surrogate
        return self._problem.scores(conditioned.posterior(self.asked(runs, epochs)))

    def known(self) -> tuple[Inputs, Vector]:
        """The questions that were answered, and their scores above chance (rows,)."""
        known = answered(self._problem, self._environment.history, self._sketches())
        return self._encode(known.queries), known.scores

    def asked(self, runs: NDArray[np.int64], epochs: NDArray[np.int64]) -> Inputs:
        """The questions how runs stand after the given epochs, seen from where the search is with them."""
        return self._encode(self._queries(runs, epochs))

    def _queries(self, runs: NDArray[np.int64], epochs: NDArray[np.int64]) -> list[Query]:
        curves: dict[int, tuple[Observation, ...]] = {}
        for observation in self._environment.history:
            curves[observation.run] = (*curves.get(observation.run, ()), observation)
        found = []
        for run, epoch in zip(runs.tolist(), epochs.tolist(), strict=True):
            what, curve = self._environment.configurations[run], curves.get(run, ())
            start, weights = self._latest(run, 0), self._latest(run, len(curve))
            found.append(
                Query(what.candidate, what.hyperparameters, what.horizon, epoch, curve, weights, start)
            )
        return found

    def _sketches(self) -> dict[tuple[int, int], Vector]:
        """Of every epoch that was paid for; where the corpus has none, the last one before."""
        found = {}
        for run in {observation.run for observation in self._environment.history}:
            for epoch in range(self._environment.reached(run) + 1):
                sketch = self._latest(run, epoch)
                if sketch is not None:
                    found[run, epoch] = sketch
        return found

    def _latest(self, run: int, epoch: int) -> Vector | None:
        return latest(self._environment.sketch(run, before) for before in range(epoch, -1, -1))

    def _encode(self, queries: list[Query]) -> Inputs:
        return blinded(encode(self._problem, queries), self._without)


def blinded(inputs: Inputs, without: frozenset[str]) -> Inputs:
    """Inputs of which some groups are absent."""
    return inputs.showing({name: np.full_like(getattr(inputs, name), np.nan) for name in without})


def problem_of(environment: Environment) -> Problem:
    """What a search in the environment is about."""
    names = (c.candidate for c in environment.configurations)
    return problem_of_task(
        environment.task, names, environment.space, environment.horizon, known=environment.known
    )
