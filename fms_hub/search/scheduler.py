"""What to train next: a pure function of everything observed so far."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Proposal
from fms_hub.search.acquisition import IncumbentRule, incumbents, log_expected_improvement
from fms_hub.search.encoding import Problem, Query, Sketches, encode, queries_of, query_after, targets
from fms_hub.search.proposals import Configuration, diverse_order, new_configurations
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.surrogate import Surrogate

FIRST_FIT = 4
REFIT_GROWTH = 1.5


@dataclass(frozen=True)
class Situation:
    """All that a proposal depends on.

    Attributes:
        problem: what stays the same.
        history: observations, oldest first.
        pending: proposals handed out and not yet answered.
        sketches: pooled weight graphs by (run, epoch).
        stopped: runs that cannot go on, because their checkpoint was dropped.
        initial: number of runs to start from the diverse design.
        seconds_left: of the budget; infinite without such a limit.
        rule: the incumbent rule of the acquisition.
        seed: of the search.
    """

    problem: Problem
    history: tuple[Observation, ...]
    pending: tuple[Proposal, ...]
    sketches: Sketches
    stopped: Collection[int]
    initial: int
    seconds_left: float
    rule: IncumbentRule
    seed: int


@dataclass(frozen=True)
class _Pool:
    """What could be trained next: epochs of running runs first, then first epochs of new ones."""

    proposals: list[Proposal]
    queries: list[Query]


def propose(situation: Situation, surrogate: Surrogate) -> Proposal | None:
    """The next epoch worth training, by multifidelity expected improvement.

    New and running configurations compete in one argmax at their own next epoch; pending proposals
    count as observed at their posterior mean.

    Args:
        situation: the search so far.
        surrogate: fitted by `fit_to` for the same situation, or unfitted.

    Returns:
        The proposal, or None if nothing that fits the remaining seconds is left to train.
    """
    started = {o.run for o in situation.history} | {p.run for p in situation.pending}
    if len(started) < situation.initial or not situation.history:
        return _from_design(situation, started)
    pool = _affordable(_pool(situation, started), situation)
    if not pool.proposals:
        return None
    conditioned = _conditioned(situation, surrogate)
    epochs = np.array([p.epoch for p in pool.proposals], dtype=np.int64)
    best = incumbents(situation.history, epochs, situation.problem.horizon, situation.rule)
    posterior = conditioned.posterior(encode(situation.problem, pool.queries))
    return pool.proposals[int(np.argmax(log_expected_improvement(posterior, best)))]


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
    inputs, scores = _observed(situation, situation.history[:size])
    return base.fit(inputs, scores)


def _observed(situation: Situation, history: Sequence[Observation]) -> tuple[Inputs, NDArray[np.float64]]:
    queries = queries_of(situation.problem, history, situation.sketches)
    return encode(situation.problem, queries), targets(history)


def _conditioned(situation: Situation, surrogate: Surrogate) -> Surrogate:
    inputs, scores = _observed(situation, situation.history)
    conditioned = surrogate.condition(inputs, scores)
    if not situation.pending:
        return conditioned
    curves = _curves(situation.history)
    asked = [
        query_after(situation.problem, p, curves.get(p.run, ()), situation.sketches)
        for p in situation.pending
    ]
    believed = conditioned.posterior(encode(situation.problem, asked)).mean
    queries = queries_of(situation.problem, situation.history, situation.sketches) + asked
    return surrogate.condition(encode(situation.problem, queries), np.concatenate([scores, believed]))


def _from_design(situation: Situation, started: set[int]) -> Proposal:
    """The default configuration of the next candidate in diverse order."""
    problem = situation.problem
    order = diverse_order(problem)
    taken = [o.candidate for o in situation.history if o.epoch == 1] + [
        p.candidate for p in situation.pending
    ]
    candidate = next((name for name in order if name not in taken), order[0])
    return Proposal(_next_run(started), candidate, problem.space.default(), 1, problem.horizon)


def _pool(situation: Situation, started: set[int]) -> _Pool:
    problem, sketches = situation.problem, situation.sketches
    busy = {p.run for p in situation.pending}
    proposals, queries = [], []
    for run, curve in _curves(situation.history).items():
        last = curve[-1]
        if last.status == "ok" and last.epoch < problem.horizon and run not in busy | set(situation.stopped):
            proposal = Proposal(run, last.candidate, last.hyperparameters, last.epoch + 1, problem.horizon)
            proposals.append(proposal)
            queries.append(query_after(problem, proposal, curve, sketches))
    seed = int(
        np.random.SeedSequence([situation.seed, len(situation.history), len(busy)]).generate_state(1)[0]
    )
    for configuration in new_configurations(problem, situation.history, seed):
        proposal = _first_epoch(problem, configuration, _next_run(started))
        proposals.append(proposal)
        queries.append(query_after(problem, proposal, (), sketches))
    return _Pool(proposals, queries)


def _first_epoch(problem: Problem, configuration: Configuration, run: int) -> Proposal:
    return Proposal(run, configuration.candidate, configuration.hyperparameters, 1, problem.horizon)


def _affordable(pool: _Pool, situation: Situation) -> _Pool:
    if math.isinf(situation.seconds_left):
        return pool
    cost = {name: marginal_seconds(situation.history, name) for name in situation.problem.candidates}
    keep = [i for i, p in enumerate(pool.proposals) if cost[p.candidate] <= situation.seconds_left]
    return _Pool([pool.proposals[i] for i in keep], [pool.queries[i] for i in keep])


def marginal_seconds(history: Sequence[Observation], candidate: str) -> float:
    """Seconds that one more epoch of a candidate will take, overhead included.

    The median of its own epochs; of everybody's where it has none; 0 before the first epoch.
    """
    own = [o.seconds + o.overhead for o in history if o.candidate == candidate]
    everybody = [o.seconds + o.overhead for o in history]
    return float(np.median(own or everybody)) if everybody else 0.0


def _curves(history: Sequence[Observation]) -> dict[int, tuple[Observation, ...]]:
    curves: dict[int, tuple[Observation, ...]] = {}
    for observation in history:
        curves[observation.run] = (*curves.get(observation.run, ()), observation)
    return curves


def _next_run(started: set[int]) -> int:
    return max(started, default=-1) + 1
