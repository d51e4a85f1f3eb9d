"""A search over cached runs, one paid epoch at a time; what is not paid for is not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.errors import UsageError
from fms_hub.records import Observation, Value
from fms_hub.search.known import Known
from fms_hub.search.space import Space
from training.benchmarks.cached.pool import CachedRun, Pool, Weights

BUDGET = 200
"""Epochs of a search."""


class BudgetSpent(Exception):
    """The search is over."""


@dataclass(frozen=True)
class Configuration:
    """What is known of a run before it is paid for."""

    candidate: str
    hyperparameters: Mapping[str, Value]
    horizon: int


@dataclass(frozen=True)
class Step:
    """What one more epoch of a run gave.

    Attributes:
        score: validation score in [0, 1]; None if the epoch failed.
        epoch: which one it was, from 1.
        done: whether the run cannot go on, because it reached its horizon or failed.
    """

    score: float | None
    epoch: int
    done: bool


class Environment:
    """The only thing a method sees of a pool.

    A run goes on from where it was left: an epoch is paid once.

    Args:
        pool: of the task.
        budget: epochs of the search.
        seconds: of one epoch of each run, (n,), see `training.benchmarks.cached.costs`; 1 by default, so that
            seconds are epochs.

    Attributes:
        configurations: the rows to choose from; their position is the ``index`` everywhere.
        task, candidates: rows of the corpus.
        known: what else is known of them.
        space, configspace: of the hyperparameters; the former encodes them.
        horizon: epochs of the longest run.
        budget: epochs of the search.

    Raises:
        UsageError: a budget below one epoch, or seconds that are not positive or not one a run.
    """

    def __init__(self, pool: Pool, budget: int = BUDGET, seconds: NDArray[np.float64] | None = None) -> None:
        if budget < 1:
            raise UsageError(f"a search needs a budget of at least one epoch, found {budget}.")
        costs = np.ones(len(pool.runs)) if seconds is None else np.asarray(seconds, dtype=np.float64)
        if costs.shape != (len(pool.runs),) or not (np.isfinite(costs) & (costs > 0)).all():
            raise UsageError(
                f"expected positive seconds of {len(pool.runs)} runs, found shape {costs.shape}."
            )
        self.configurations: tuple[Configuration, ...] = tuple(
            Configuration(run.candidate, run.hyperparameters, run.horizon) for run in pool.runs
        )
        self.task: TaskRow = pool.task
        self.candidates: Mapping[str, CandidateRow] = pool.candidates
        self.known: Known = pool.known
        self.space: Space = pool.space
        self.configspace: ConfigurationSpace = pool.configspace
        self.horizon: int = pool.horizon
        self.budget: int = budget
        self._pool = pool
        self._seconds = costs
        self._reached = [0] * len(pool.runs)
        self._history: list[Observation] = []

    @property
    def history(self) -> tuple[Observation, ...]:
        """What was paid for, oldest first; ``run`` is the index."""
        return tuple(self._history)

    @property
    def left(self) -> int:
        """Epochs left to pay."""
        return self.budget - len(self._history)

    def reached(self, index: int) -> int:
        """Epochs of a run that were paid for."""
        return self._reached[index]

    def done(self, index: int) -> bool:
        """Whether a run is known not to go on: it reached its horizon, or failed."""
        epochs = self._run(index).epochs
        return self._reached[index] == epochs

    def untried(self) -> NDArray[np.int64]:
        """Indices of the runs that nothing was paid for, ascending."""
        return np.flatnonzero(np.array(self._reached) == 0)

    def advance(self, index: int) -> Step:
        """Train a run for exactly one more epoch and pay for it.

        Raises:
            BudgetSpent: nothing is left; nothing is revealed.
            ValueError: the run is done.
        """
        run = self._run(index)
        if self.left < 1:
            raise BudgetSpent
        if self.done(index):
            raise ValueError(f"run {index} is done after {self._reached[index]} epochs.")
        self._reached[index] += 1
        epoch = self._reached[index]
        failed = epoch > len(run.scores)
        self._history.append(
            Observation(
                run=index,
                candidate=run.candidate,
                hyperparameters=run.hyperparameters,
                epoch=epoch,
                horizon=run.horizon,
                score=None if failed else run.scores[epoch - 1],
                train_loss=None if failed else run.losses[epoch - 1],
                seconds=float(self._seconds[index]),
                status="failed" if failed else "ok",
                reason=run.reason if failed else None,
            )
        )
        return Step(self._history[-1].score, epoch, self.done(index))

    def sketch(self, index: int, epoch: int) -> NDArray[np.float64] | None:
        """The pooled weight graph of a run after an epoch that was paid for; 0 is before training.

        None where the corpus has none. At epoch 0 it is the run's own where known, else its candidate's.

        Raises:
            ValueError: the epoch was not paid for.
        """
        run = self._paid(index, epoch)
        found = self._pool.sketches.get((run.id, epoch))
        if found is None and epoch == 0:
            found = self._pool.start.get(run.candidate)
        return None if found is None else found.copy()

    def weights(self, index: int, epoch: int) -> Weights | None:
        """The weights of a run after an epoch that was paid for, as `sketch`; None where none were kept."""
        return self._pool.weights.get((self._paid(index, epoch).id, epoch))

    def _paid(self, index: int, epoch: int) -> CachedRun:
        run = self._run(index)
        if not 0 <= epoch <= self._reached[index]:
            raise ValueError(f"epoch {epoch} of run {index} is not paid for, only {self._reached[index]}.")
        return run

    def _run(self, index: int) -> CachedRun:
        if not 0 <= index < len(self._reached):
            raise ValueError(f"there is no run {index}, only 0 .. {len(self._reached) - 1}.")
        return self._pool.runs[index]
