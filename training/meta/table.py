"""A task's cached runs as questions with known answers, encoded as a live search encodes them.

N = questions, R = runs, E = longest horizon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation
from fms_hub.search.encoding import Problem, Query, encode, lookbacks
from fms_hub.surrogate.inputs import Inputs
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus.problem import latest, problem_of_task

Vector = NDArray[np.float64]
NONE = -1


@dataclass(frozen=True, eq=False)
class Table:
    """All questions about a task's runs that an episode may ask.

    A question is (run, epochs seen, epoch asked about); those of a run's last epoch are there for every
    number of epochs seen, those of other epochs for `fms_hub.search.encoding.lookbacks`.

    Attributes:
        task: name.
        inputs: (N, ...).
        scores: (N,), above chance; of a failed epoch 0.
        row: number of each question by run, epochs seen and epoch, (R, E, E + 1); `NONE` where there is none.
        epochs: of each run that can be paid for, (R,).
        horizons: of each run, (R,).
    """

    task: str
    inputs: Inputs
    scores: Vector
    row: NDArray[np.int64]
    epochs: NDArray[np.int64]
    horizons: NDArray[np.int64]

    @property
    def finished(self) -> NDArray[np.int64]:
        """Runs that reached their horizon."""
        return np.flatnonzero(self.row[np.arange(len(self.epochs)), 0, self.horizons] != NONE)


def problem_of(pool: Pool) -> Problem:
    """What a search on the pool's task would be about."""
    names = (run.candidate for run in pool.runs)
    return problem_of_task(pool.task, names, pool.space, pool.horizon, pool.start, pool.known)


def table_of(pool: Pool) -> Table:
    """Encode all questions about a pool's runs."""
    problem = problem_of(pool)
    row = np.full((len(pool.runs), pool.horizon, pool.horizon + 1), NONE, dtype=np.int64)
    queries: list[Query] = []
    scores: list[float] = []
    for number, run in enumerate(pool.runs):
        curve, start = observations(run, number), latest_sketch(pool, run, 0)
        for seen, epoch in _asked(run):
            row[number, seen, epoch] = len(queries)
            weights = latest_sketch(pool, run, seen)
            queries.append(
                Query(run.candidate, run.hyperparameters, run.horizon, epoch, curve[:seen], weights, start)
            )
            score = curve[epoch - 1].score
            scores.append(0.0 if score is None else problem.above_chance(score))
    return Table(
        task=pool.task.name,
        inputs=encode(problem, queries),
        scores=np.array(scores),
        row=row,
        epochs=np.array([run.epochs for run in pool.runs]),
        horizons=np.array([run.horizon for run in pool.runs]),
    )


def observations(run: CachedRun, number: int) -> tuple[Observation, ...]:
    """A cached run as a search would have logged it, failed epoch included."""
    scores: Sequence[float | None] = (*run.scores, *([None] if run.reason is not None else []))
    losses = (*run.losses, None)
    return tuple(
        Observation(
            number,
            run.candidate,
            run.hyperparameters,
            epoch,
            run.horizon,
            score,
            train_loss=None if score is None else losses[epoch - 1],
            status="failed" if score is None else "ok",
            reason=run.reason if score is None else None,
        )
        for epoch, score in enumerate(scores, start=1)
    )


def latest_sketch(pool: Pool, run: CachedRun, seen: int) -> Vector | None:
    """The weights as last sketched after at most ``seen`` epochs, or else the candidate's."""
    found = latest(pool.sketches.get((run.id, epoch)) for epoch in range(seen, -1, -1))
    return pool.start.get(run.candidate) if found is None else found


def _asked(run: CachedRun) -> Iterator[tuple[int, int]]:
    for epoch in range(1, run.epochs + 1):
        last = epoch == run.horizon
        for seen in range(epoch) if last else lookbacks(epoch):
            yield seen, epoch
