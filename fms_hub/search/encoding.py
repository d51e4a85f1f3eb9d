"""From the history of a search to the surrogate's inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Proposal, TaskInfo, Value
from fms_hub.search.known import METADATA, PROBES, Known, with_standing
from fms_hub.search.lineage import Curve, curve_of
from fms_hub.search.space import Space
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.posterior import Posterior
from fms_hub.tasks.embedding import EMBEDDING
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.pooling import POOLED

Vector = NDArray[np.float64]
Sketches = Mapping[tuple[int, int], Vector]
"""Pooled weight graphs by (run, epoch)."""


@dataclass(frozen=True)
class Problem:
    """What stays the same during a search.

    Attributes:
        candidates: their names; the index is what the surrogate sees.
        space: of the hyperparameters.
        horizon: epochs of a full run.
        images_per_epoch: training images that one epoch sees.
        task: (T,), meta-features of the task.
        start: pooled weight graph of each candidate before any training, (W,); absent if unknown.
        chance: score of guessing, in [0, 1); the surrogate sees (score - chance) / (1 - chance), so that
            tasks of few and of many classes are alike.
        known: what else there is.
    """

    candidates: tuple[str, ...]
    space: Space
    horizon: int
    images_per_epoch: int
    task: Vector
    start: Mapping[str, Vector]
    chance: float = 0.0
    known: Known = field(default_factory=Known)

    def above_chance(self, score: float) -> float:
        """A score in the surrogate's units: 0 is guessing, 1 perfect."""
        return (score - self.chance) / (1.0 - self.chance)

    def scores(self, posterior: Posterior) -> Posterior:
        """What the surrogate believes, in units of the score."""
        share = 1.0 - self.chance
        return Posterior(self.chance + share * posterior.mean, share * posterior.std)


def problem_of(
    candidates: Sequence[str],
    space: Space,
    max_epochs: int,
    task: TaskInfo | None,
    graphs: Mapping[str, WeightGraph],
    known: Known | None = None,
) -> Problem:
    """What a search is about, as the surrogate is told."""
    features = [] if task is None else [task.features[name] for name in sorted(task.features)]
    return Problem(
        candidates=tuple(candidates),
        space=space,
        horizon=max_epochs,
        images_per_epoch=1000 if task is None else task.sizes["train"],
        task=np.array(features or [np.nan]),
        start={name: graphs[name].pooled() for name in candidates if name in graphs},
        chance=0.0 if task is None else 1.0 / len(task.classes),
        known=known or Known(),
    )


@dataclass(frozen=True)
class Query:
    """One row for the surrogate: what is known of a run, and the later epoch that is asked about.

    Attributes:
        candidate, hyperparameters, horizon: of the run.
        epoch: asked about.
        curve: of the run so far.
        weights: pooled weight graph of its newest checkpoint, (W,); None if unknown.
        start: that of the checkpoint it started from.
    """

    candidate: str
    hyperparameters: Mapping[str, Value]
    horizon: int
    epoch: int
    curve: tuple[Observation, ...]
    weights: Vector | None
    start: Vector | None


@dataclass(frozen=True)
class Answered:
    """Questions whose answers are known: n queries and their scores (n,)."""

    queries: list[Query]
    scores: Vector


def answered(problem: Problem, history: Sequence[Observation], sketches: Sketches) -> Answered:
    """What the history teaches: each score, as seen from several epochs before it.

    A surrogate that is asked about a run's score some epochs ahead must have learned from such
    questions: each observation answers the question of the epoch before, of half way, and of the start.
    """
    curves: dict[int, Curve] = {}
    queries: list[Query] = []
    scores: list[float] = []
    for observation, score in zip(history, targets(problem, history), strict=True):
        curve = curve_of(curves, observation)
        forked = 0 if observation.parent is None else observation.parent.epoch
        for seen in lookbacks(observation.epoch):
            if seen >= forked:  # before that the run had other hyperparameters
                queries.append(query(problem, observation, curve[:seen], sketches))
                scores.append(score)
        curves[observation.run] = (*curve, observation)
    return Answered(queries, np.array(scores))


def lookbacks(epoch: int) -> tuple[int, ...]:
    """Epochs already seen when asking about ``epoch``: the one before, half way, none."""
    return tuple(sorted({0, epoch // 2, epoch - 1}, reverse=True))


def query(
    problem: Problem,
    subject: Observation | Proposal,
    curve: Curve,
    sketches: Sketches,
    epoch: int | None = None,
) -> Query:
    """The question about a run at ``epoch`` (its own if None), given its curve so far."""
    start = sketches.get((subject.run, 0), problem.start.get(subject.candidate))
    return Query(
        subject.candidate,
        subject.hyperparameters,
        subject.horizon,
        epoch or subject.epoch,
        curve,
        sketches.get((curve[-1].run, curve[-1].epoch)) if curve else start,
        start,
    )


def encode(problem: Problem, queries: Sequence[Query]) -> Inputs:
    """The surrogate's inputs, one row per query."""
    n = len(queries)
    index = {name: number for number, name in enumerate(problem.candidates)}
    width = len(next(iter(problem.start.values()))) if problem.start else len(POOLED)
    epochs = np.array([q.epoch for q in queries], dtype=np.float64)
    horizons = np.array([q.horizon for q in queries], dtype=np.float64)
    images = np.log10(np.maximum(epochs * problem.images_per_epoch, 1.0))
    candidate = np.array([index.get(q.candidate, -1) for q in queries], dtype=np.int64)
    return Inputs(
        hyperparameters=problem.space.encode([q.hyperparameters for q in queries]),
        fidelity=np.stack([epochs / horizons, images / 4.0], axis=1),
        curve=np.array([_curve(problem, q) for q in queries]).reshape(n, 6),
        weights=np.array([_or_absent(q.weights, width) for q in queries]).reshape(n, width),
        start=np.array([_or_absent(q.start, width) for q in queries]).reshape(n, width),
        task=np.tile(problem.task, (n, 1)),
        embedding=np.tile(_or_absent(problem.known.embedding, len(EMBEDDING)), (n, 1)),
        metadata=_table(problem, problem.known.metadata, len(METADATA))[candidate],
        probes=_table(problem, with_standing(problem.known.probes), len(PROBES))[candidate],
        candidate=candidate,
    )


def _table(problem: Problem, by_candidate: Mapping[str, Vector], width: int) -> Vector:
    """The numbers of each candidate, (candidates + 1, width), NaN where it has none and in the last row."""
    rows = [_or_absent(by_candidate.get(name), width) for name in problem.candidates]
    return np.array([*rows, np.full(width, np.nan)])


def _or_absent(numbers: Vector | None, width: int) -> Vector:
    return np.full(width, np.nan) if numbers is None else numbers


def _curve(problem: Problem, query: Query) -> list[float]:
    """Share of the horizon seen; last, best and first score, last gain; last loss squashed by x / (1 + x)."""
    scores = [problem.above_chance(o.score) for o in query.curve if o.score is not None]
    if not scores:
        return [np.nan] * 6
    gain = scores[-1] - scores[-2] if len(scores) > 1 else 0.0
    loss = query.curve[-1].train_loss
    squashed = 0.5 if loss is None else loss / (1.0 + loss)
    return [len(scores) / query.horizon, scores[-1], max(scores), scores[0], gain, squashed]


def targets(problem: Problem, history: Sequence[Observation]) -> Vector:
    """Scores to learn from, (n,), above chance. A failed epoch counts as the worst score seen, or guessing.

    A surrogate that never hears of failures proposes their neighbours for ever.
    """
    worst = min((o.score for o in history if o.score is not None), default=problem.chance)
    return np.array([problem.above_chance(worst if o.score is None else o.score) for o in history])
