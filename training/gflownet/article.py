"""The article's experiment: what policies draw from a grid of feed-forward nets whose truth is known.

R = learning rates, B = batch sizes, E = epoch counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.records import Observation
from fms_hub.search.belief import Belief
from fms_hub.search.encoding import Problem, answered, encode
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.gflownet.policy import Policy
from fms_hub.search.gflownet.rewards import learn
from fms_hub.search.gflownet.tree import Tree
from fms_hub.search.proposals import Configuration
from fms_hub.search.space import Space
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.against_random import interval
from training.benchmarks.cached.report import TableRow
from training.gflownet.feed_forward import CANDIDATE, Grid

DRAWS, FEW = 1000, 50
OBSERVED = 24
"""Cells that the surrogate has seen, drawn at random."""
GOOD = 0.9
"""Cells at or above this quantile of the grid are good."""
Samples = Mapping[str, NDArray[np.int64]]
"""Cells (n, 3) by the name of the method."""


def samples(grid: Grid, seed: int, effort: Effort) -> Samples:
    """What each method draws, `DRAWS` cells; the grid itself is all cells once."""
    space = Space(grid.configspace())
    untrained = Policy(Tree([CANDIDATE], space), seed)
    belief = _belief(grid, space, seed)
    policies = {
        "uniform": None,
        "untrained policy": untrained,
        f"policy, surrogate of {OBSERVED} cells": learn(
            untrained, lambda c: belief.full_runs(c).mean, effort, seed
        ),
        "policy, true reward": learn(untrained, grid.truth, effort, seed),
    }
    drawn = {
        name: grid.cells(_drawn(policy or untrained, seed, 1.0 if policy is None else 0.0))
        for name, policy in policies.items()
    }
    return {"grid": np.argwhere(np.isfinite(grid.scores)), **drawn}


def _drawn(policy: Policy, seed: int, uniform: float) -> list[Configuration]:
    states = policy.sample(DRAWS, torch.Generator().manual_seed(seed), uniform=uniform)
    return policy.tree.configurations(states, None)


def _belief(grid: Grid, space: Space, seed: int) -> Belief:
    """A surrogate that has seen some cells and knows nothing else."""
    problem = Problem((CANDIDATE,), space, 1, 1000, np.array([np.nan]), {})
    seen = [Configuration(CANDIDATE, values) for values in space.sample(OBSERVED, seed)]
    history = [
        Observation(run, CANDIDATE, c.hyperparameters, 1, 1, float(score), train_loss=None, seconds=1.0)
        for run, (c, score) in enumerate(zip(seen, grid.truth(seen), strict=True))
    ]
    known = answered(problem, history, {})
    return Belief(problem, Surrogate().fit(encode(problem, known.queries), known.scores))


def modes(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Good cells (m, 3) that no neighbour, one step along one axis, is better than."""
    padded = np.pad(scores, 1, constant_values=-np.inf)
    inner = (slice(1, -1),) * scores.ndim
    top = scores >= np.quantile(scores, GOOD)
    for axis in range(scores.ndim):
        for step in (-1, 1):
            top &= scores >= np.roll(padded, step, axis=axis)[inner]
    return np.argwhere(top)


@dataclass(frozen=True)
class Quality:
    """Of one method's draws.

    Attributes:
        mean: true score.
        good: share of draws at or above the grid's `GOOD` quantile.
        cells: different ones.
        modes, early: modes among all draws, and among the first `FEW` in random order.
    """

    mean: float
    good: float
    cells: int
    modes: int
    early: int


def quality(scores: NDArray[np.float64], cells: NDArray[np.int64], seed: int) -> Quality:
    """Judge the cells (n, 3) that a method drew."""
    true = scores[tuple(cells.T)]
    tops = {tuple(mode) for mode in modes(scores).tolist()}
    order = np.random.default_rng(seed).permutation(len(cells))
    drawn = [tuple(cell) for cell in cells[order].tolist()]
    return Quality(
        mean=float(true.mean()),
        good=float((true >= np.quantile(scores, GOOD)).mean()),
        cells=len(set(drawn)),
        modes=len(tops & set(drawn)),
        early=len(tops & set(drawn[:FEW])),
    )


METRICS = {
    "mean": "mean true accuracy of draws",
    "good": "share of draws in the best tenth of the grid",
    "cells": "different cells drawn",
    "modes": "modes drawn",
    "early": f"modes among the first {FEW} draws",
}


def rows(grid: Grid, drawn: Sequence[Samples]) -> list[TableRow]:
    """Means over seeds."""
    found = []
    for name in drawn[0]:
        of = [quality(grid.scores, each[name], seed) for seed, each in enumerate(drawn)]
        for field, metric in METRICS.items():
            values = [float(getattr(q, field)) for q in of]
            mean, low, high = interval(values)
            draws = f"{len(drawn[0][name])} draws"
            found.append(TableRow(name, grid.name, draws, metric, mean, low, high, len(values)))
    return found
