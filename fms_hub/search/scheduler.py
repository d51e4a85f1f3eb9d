"""What to train next: a pure function of everything observed so far."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Proposal
from fms_hub.search.acquisition import Acquisition, Rule, Steps
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem, Sketches, answered, encode, query
from fms_hub.search.forks import forks
from fms_hub.search.lineage import curve_of, curves
from fms_hub.search.proposals import Configuration, diverse_order, new_configurations
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.surrogate.inputs import Inputs, concatenate, evenly
from fms_hub.surrogate.surrogate import Surrogate

FIRST_FIT = 4
REFIT_GROWTH = 1.5
FREE_STARTS, SHARE_OF_STARTS = 4, 1 / 3
"""Runs that may begin whatever happens, and the share of all epochs that may begin others. On tasks unlike
those of meta-training a first epoch can make every run look worse than all that have not begun; without a
limit none would then be trained beyond it."""
FIT_ROWS = 128
"""Most rows that kernel parameters are fitted to, spread over the history; all rows are conditioned on."""


@dataclass(frozen=True)
class Situation:
    """All that a proposal depends on.

    Attributes:
        problem: what stays the same.
        history: observations, oldest first.
        pending: proposals handed out and not yet answered.
        sketches: pooled weight graphs by (run, epoch).
        stopped: runs that cannot go on, because their checkpoint was dropped.
        initial: number of runs to start from the diverse design, where the surrogate is not meta-trained.
        seconds_left: of the budget; infinite without such a limit.
        rule: of the acquisition.
        seed: of the search.
        cost: of epochs, before any was trained.
        earlier: observations of earlier logs, for the surrogate to learn from; their runs have numbers
            below 0, are never continued and count neither as best nor as spent.
        tradeoff: the objective besides the score, or None.
        forking: whether runs may start from checkpoints of this search, see `fms_hub.search.forks`.
    """

    problem: Problem
    history: tuple[Observation, ...]
    pending: tuple[Proposal, ...]
    sketches: Sketches
    stopped: Collection[int]
    initial: int
    seconds_left: float
    rule: Rule
    seed: int
    cost: CostModel
    earlier: tuple[Observation, ...] = ()
    tradeoff: Tradeoff | None = None
    forking: bool = False

    @property
    def observed(self) -> tuple[Observation, ...]:
        """All that the surrogate learns from."""
        return self.earlier + self.history


@dataclass(frozen=True)
class Outlook:
    """What can be said of proposals in a situation.

    Attributes:
        situation: the search so far.
        surrogate: conditioned on it.
        acquisition: of this step.
    """

    situation: Situation
    surrogate: Surrogate
    acquisition: Acquisition

    @classmethod
    def of(cls, situation: Situation, surrogate: Surrogate, acquisition: Acquisition) -> Outlook:
        """Condition a fitted surrogate on all that was observed."""
        return cls(situation, conditioned(situation, surrogate), acquisition)

    def promise(self, proposals: Sequence[Proposal], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much each proposal promises, (n,), given the seconds (n,) that it takes."""
        following = np.array([p.epoch for p in proposals], dtype=np.int64)
        steps = Steps(following, self.acquisition.asked(following), seconds)
        posterior = self.surrogate.posterior(_encoded(self.situation, proposals, steps.asked))
        problem, history = self.situation.problem, self.situation.history
        believed = problem.scores(posterior)
        if self.situation.tradeoff is None:
            return self.acquisition.rate(believed, steps, history)
        names = [p.candidate for p in proposals]
        cautious = self.acquisition.cautious(believed, steps)
        improvement = self.situation.tradeoff.log_improvement(cautious, names, history, problem.chance)
        return self.acquisition.for_cost(improvement, steps)

    def promise_of_new(self, configurations: Sequence[Configuration]) -> NDArray[np.float64]:
        """How much the first epoch of each configuration promises, (n,)."""
        run = next_run(self.situation)
        firsts = [_first_epoch(self.situation.problem, c, run) for c in configurations]
        cost = self.situation.cost.after(self.situation.history)
        return self.promise(firsts, _seconds(cost, firsts))


def designing(situation: Situation, surrogate: Surrogate) -> bool:
    """Whether the next run belongs to the diverse start, before the surrogate has a say."""
    looked_at = {o.candidate for o in situation.earlier} & set(situation.problem.candidates)
    started = len(_started(situation)) + len(looked_at)
    return surrogate.learned is None and (started < situation.initial or not situation.observed)


def propose(
    situation: Situation, surrogate: Surrogate, generated: Sequence[Configuration] = ()
) -> Proposal | None:
    """The next epoch worth training.

    New and running configurations compete in one argmax of the acquisition; whatever wins gets exactly
    one more epoch. Where so many runs have begun that no other may, see `may_begin`, those under way compete
    alone, if there are any. Pending proposals count as observed at their posterior mean.

    Args:
        situation: the search so far.
        surrogate: fitted by `fit_to` for the same situation, or unfitted.
        generated: configurations to look at besides uniform and local ones, see
            `fms_hub.search.generator`.

    Returns:
        The proposal, or None if nothing that fits the remaining seconds is left to train.
    """
    if designing(situation, surrogate):
        return _from_design(situation)
    rng = np.random.default_rng([situation.seed, len(situation.history), len(situation.pending)])
    pool = _affordable(_pool(situation, rng, generated), situation)
    if not may_begin(len(_started(situation)), len(situation.history) + len(situation.pending)):
        pool = _under_way(situation, pool) or pool
    if not pool:
        return None
    acquisition = Acquisition.draw(situation.rule, situation.problem.horizon, rng)
    seconds = _seconds(situation.cost.after(situation.history), pool)
    promise = Outlook.of(situation, surrogate, acquisition).promise(pool, seconds)
    return pool[int(np.argmax(promise))]


def may_begin(started: int, epochs: int) -> bool:
    """Whether one more run may begin after so many have, and so many epochs were trained."""
    return started < FREE_STARTS + SHARE_OF_STARTS * epochs


def fit_size(observations: int) -> int:
    """How many of the observations the kernel's parameters are fitted to: 4, 6, 9, 14, 21 ...

    Fitting at a geometric series of sizes costs a logarithmic number of fits, and depends on the
    history alone, so that a resumed search goes on exactly like one that was never interrupted.
    """
    size, following = 0, FIRST_FIT
    while following <= observations:
        size, following = following, math.ceil(following * REFIT_GROWTH)
    return size


def fit_to(situation: Situation, base: Surrogate, size: int) -> Surrogate:
    """Fit the base surrogate's kernel to the first ``size`` observations; itself where size is 0."""
    if size == 0:
        return base
    known = answered(situation.problem, situation.observed[:size], situation.sketches)
    return fit_spread(base, encode(situation.problem, known.queries), known.scores)


def fit_spread(base: Surrogate, inputs: Inputs, scores: NDArray[np.float64]) -> Surrogate:
    """Fit the base surrogate's kernel to `FIT_ROWS` of n rows, or fewer; itself where n is below 2."""
    rows = evenly(len(scores), FIT_ROWS)
    return base.fit(inputs.rows(rows), scores[rows]) if len(rows) > 1 else base


def conditioned(situation: Situation, surrogate: Surrogate) -> Surrogate:
    """On all that was observed; what is pending counts as observed at its posterior mean."""
    known = answered(situation.problem, situation.observed, situation.sketches)
    inputs = encode(situation.problem, known.queries)
    believing = surrogate.condition(inputs, known.scores) if known.queries else surrogate
    if not situation.pending:
        return believing
    waiting = _encoded(situation, situation.pending, np.array([p.epoch for p in situation.pending]))
    believed = believing.posterior(waiting).mean
    return surrogate.condition(concatenate([inputs, waiting]), np.concatenate([known.scores, believed]))


def _encoded(situation: Situation, proposals: Sequence[Proposal], epochs: NDArray[np.int64]) -> Inputs:
    """The surrogate's rows for runs asked about at the given epochs."""
    known = curves(situation.history)
    queries = [
        query(situation.problem, proposal, curve_of(known, proposal), situation.sketches, int(epoch))
        for proposal, epoch in zip(proposals, epochs, strict=True)
    ]
    return encode(situation.problem, queries)


def _from_design(situation: Situation) -> Proposal:
    """The default configuration of the next candidate in diverse order."""
    problem = situation.problem
    order = diverse_order(problem)
    taken = [o.candidate for o in situation.observed if o.epoch == 1] + [
        p.candidate for p in situation.pending
    ]
    candidate = next((name for name in order if name not in taken), order[0])
    return Proposal(next_run(situation), candidate, problem.space.default(), 1, problem.horizon)


def _pool(
    situation: Situation, rng: np.random.Generator, generated: Sequence[Configuration]
) -> list[Proposal]:
    """What could be trained next: epochs of running runs, first epochs of new ones, and of forks."""
    problem = situation.problem
    idle = {p.run for p in situation.pending} | set(situation.stopped)
    last = {o.run: o for o in situation.history if o.run not in idle}
    running = [
        Proposal(run, o.candidate, o.hyperparameters, o.epoch + 1, problem.horizon, o.parent)
        for run, o in last.items()
        if o.status == "ok" and o.epoch < problem.horizon
    ]
    seed = int(rng.integers(2**31))
    new = new_configurations(problem, situation.history, seed, situation.earlier, generated)
    run = next_run(situation)
    pool = running + [_first_epoch(problem, configuration, run) for configuration in new]
    return (
        pool + forks(problem, situation.history, situation.stopped, run, rng) if situation.forking else pool
    )


def _first_epoch(problem: Problem, configuration: Configuration, run: int) -> Proposal:
    return Proposal(run, configuration.candidate, configuration.hyperparameters, 1, problem.horizon)


def _under_way(situation: Situation, pool: list[Proposal]) -> list[Proposal]:
    """Of what could be trained next, what goes on with a run."""
    started = _started(situation)
    return [proposal for proposal in pool if proposal.run in started]


def _affordable(pool: list[Proposal], situation: Situation) -> list[Proposal]:
    """What the remaining seconds allow beside what is pending."""
    cost = situation.cost.after(situation.history)
    left = situation.seconds_left - _seconds(cost, situation.pending).sum()
    return [pool[i] for i in np.flatnonzero(_seconds(cost, pool) <= left)]


def _seconds(cost: CostModel, proposals: Sequence[Proposal]) -> NDArray[np.float64]:
    return cost.seconds([(proposal.candidate, proposal.hyperparameters) for proposal in proposals])


def _started(situation: Situation) -> set[int]:
    return {o.run for o in situation.history} | {p.run for p in situation.pending}


def next_run(situation: Situation) -> int:
    """The number of the next new run."""
    return max(_started(situation), default=-1) + 1
