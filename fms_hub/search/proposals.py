"""Where proposals for new runs come from: a diverse start, uniform draws, neighbours, a flow network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Value
from fms_hub.search.encoding import Problem

UNIFORM = 256
NEIGHBOURS = 16
PARENTS = 4


@dataclass(frozen=True)
class Configuration:
    """One point of the search: a candidate with its hyperparameters."""

    candidate: str
    hyperparameters: Mapping[str, Value]


def diverse_order(problem: Problem) -> tuple[str, ...]:
    """All candidates, each as far as possible from those before it.

    Farthest-point order (Gonzalez 1985) of the pooled weight graphs, standardised by column, from
    the most central one on; candidates without weights follow in the order given.
    """
    known = [name for name in problem.candidates if name in problem.start]
    unknown = [name for name in problem.candidates if name not in problem.start]
    if not known:
        return tuple(unknown)
    rows = np.array([problem.start[name] for name in known])
    rows = (rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-9)
    central = int(np.argmin(np.square(rows).sum(axis=1)))
    return tuple([known[i] for i in farthest_first(rows, central, len(known))] + unknown)


def farthest_first(rows: NDArray[np.float64], first: int, n: int) -> list[int]:
    """Indices of n rows (all, D), each as far as possible from those before it (Gonzalez 1985)."""
    chosen = [first]
    nearest = _distances(rows, first)
    while len(chosen) < n:
        nearest[chosen] = -1.0
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, _distances(rows, chosen[-1]))
    return chosen


def _distances(rows: NDArray[np.float64], index: int) -> NDArray[np.float64]:
    distances: NDArray[np.float64] = np.square(rows - rows[index]).sum(axis=1)
    return distances


def new_configurations(
    problem: Problem,
    history: Sequence[Observation],
    seed: int,
    earlier: Sequence[Observation] = (),
    generated: Sequence[Configuration] = (),
) -> list[Configuration]:
    """Configurations for new runs, none of them tried before in this search.

    Uniform draws over space and candidates, the default configuration of every candidate,
    neighbours of the best runs (one hyperparameter changed, or the candidate), and the best runs of
    earlier logs, as far as the space allows them, with their neighbours; and those that were generated.
    """
    rng = np.random.default_rng(seed)
    default = problem.space.default()
    pool = [Configuration(name, default) for name in problem.candidates]
    draws = problem.space.sample(UNIFORM, int(rng.integers(2**31)))
    names = rng.permutation(np.resize(np.array(problem.candidates, dtype=object), len(draws)))
    pool += [Configuration(name, values) for name, values in zip(names, draws, strict=True)]
    for parent in _best_runs(history):
        near = problem.space.neighbours(parent.hyperparameters, NEIGHBOURS, int(rng.integers(2**31)))
        pool += [Configuration(parent.candidate, values) for values in near]
        pool += [Configuration(name, parent.hyperparameters) for name in problem.candidates]
    for parent in _best_runs(earlier):
        values = problem.space.adapted(parent.hyperparameters)
        if values is not None:
            near = problem.space.neighbours(values, NEIGHBOURS, int(rng.integers(2**31)))
            pool += [Configuration(name, values) for name in problem.candidates]
            if parent.candidate in problem.candidates:
                pool += [Configuration(parent.candidate, neighbour) for neighbour in near]
    return _untried([*pool, *generated], history)


def _best_runs(history: Sequence[Observation]) -> list[Observation]:
    """The best observation of each of the best runs."""
    best: dict[int, Observation] = {}
    for observation in history:
        score = observation.score
        if score is not None and score > _score(best.get(observation.run)):
            best[observation.run] = observation
    return sorted(best.values(), key=_score, reverse=True)[:PARENTS]


def _score(observation: Observation | None) -> float:
    return -1.0 if observation is None or observation.score is None else observation.score


def _untried(pool: Sequence[Configuration], history: Sequence[Observation]) -> list[Configuration]:
    seen = {key_of(o.candidate, o.hyperparameters) for o in history}
    fresh = []
    for configuration in pool:
        key = key_of(configuration.candidate, configuration.hyperparameters)
        if key not in seen:
            seen.add(key)
            fresh.append(configuration)
    return fresh


def key_of(candidate: str, hyperparameters: Mapping[str, Value]) -> tuple[object, ...]:
    """What two runs share that were configured alike."""
    return (candidate, *sorted(hyperparameters.items()))
