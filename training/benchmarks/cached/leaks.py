"""Does a method read what it has not paid for?

It is run again on pools whose every unpaid score, loss, test score, failure and sketch is another: anything,
all good, and all bad. A method that goes by what it paid for takes the same steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.methods import Search, run
from training.benchmarks.cached.pool import CachedRun, Pool, Weights

FUTURES = ((0.0, 1.0), (0.99, 1.0), (0.0, 0.01))
"""Ranges of the scores that are not paid for."""


def reads_the_future(search: Search, pool: Pool, budget: int, seed: int = 0) -> bool:
    """Whether a search goes another way when the future is another."""
    first = run(search, Environment(pool, budget), seed)
    others = (with_another_future(pool, first, scores, seed) for scores in FUTURES)
    return any(run(search, Environment(other, budget), seed) != first for other in others)


def with_another_future(
    pool: Pool, paid: Sequence[Observation], scores: tuple[float, float], seed: int
) -> Pool:
    """The pool with everything replaced at random that a history did not pay for; scores from a range."""
    rng = np.random.default_rng(seed)
    reached = {o.run: o.epoch for o in paid}
    runs = tuple(_changed(run, reached.get(index, 0), scores, rng) for index, run in enumerate(pool.runs))
    known = {run.id: reached.get(index, 0) for index, run in enumerate(pool.runs)}
    sketches, weights = _sketches(pool, known, rng), _weights(pool, known, rng)
    return replace(pool, runs=runs, repeats={}, sketches=sketches, weights=weights)


def _changed(run: CachedRun, paid: int, between: tuple[float, float], rng: np.random.Generator) -> CachedRun:
    if paid == run.epochs:
        return replace(run, test_score=float(rng.uniform(*between)))
    scores = (*run.scores[:paid], *rng.uniform(*between, size=run.horizon - paid).tolist())
    losses = (*run.losses[:paid], *rng.uniform(size=run.horizon - paid).tolist())
    # It may also fail, but not in an epoch that was paid for.
    if rng.uniform() < 0.2:
        cut = int(rng.integers(paid, run.horizon))
        return replace(run, scores=scores[:cut], losses=losses[:cut], test_score=None, reason="diverged")
    return replace(run, scores=scores, losses=losses, test_score=float(rng.uniform(*between)), reason=None)


def _sketches(
    pool: Pool, known: Mapping[str, int], rng: np.random.Generator
) -> dict[tuple[str, int], NDArray[np.float64]]:
    return {
        (run, epoch): sketch if epoch <= known.get(run, 0) else rng.normal(size=sketch.shape)
        for (run, epoch), sketch in pool.sketches.items()
    }


def _weights(
    pool: Pool, known: Mapping[str, int], rng: np.random.Generator
) -> dict[tuple[str, int], Weights]:
    return {
        (run, epoch): state
        if epoch <= known.get(run, 0)
        else {name: rng.normal(size=tensor.shape) for name, tensor in state.items()}
        for (run, epoch), state in pool.weights.items()
    }
