"""The finite pool of cached runs of one task, from which every method chooses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.corpus.shards import read_corpus, warn
from fms_hub.corpus.tables import read_table
from fms_hub.errors import UsageError
from fms_hub.records import Value
from fms_hub.search.known import Known
from fms_hub.search.space import Space
from fms_hub.weights.graph import WeightGraph
from training.benchmarks.cached.known import Written
from training.benchmarks.cached.spaces import hub_space

Vector = NDArray[np.float64]
Weights = Mapping[str, NDArray[Any]]
"""Of a network, by the names of its tensors."""


@dataclass(frozen=True)
class CachedRun:
    """One configuration and what came of it.

    Attributes:
        id: of the run, see `training.corpus.plan`.
        candidate, hyperparameters, horizon, seed: as planned.
        scores: validation score after epochs 1, 2, ..., as far as it went; in [0, 1].
        losses: mean training loss of the same epochs, nats; None where it was not logged.
        test_score: after the last epoch; None if the run failed or was not tested.
        reason: why it failed, else None. The epoch that failed follows the last of `scores`.
    """

    id: str
    candidate: str
    hyperparameters: Mapping[str, Value]
    horizon: int
    seed: int
    scores: tuple[float, ...]
    losses: tuple[float | None, ...]
    test_score: float | None = None
    reason: str | None = None

    @property
    def epochs(self) -> int:
        """How many epochs can be paid for, the one that failed included."""
        return len(self.scores) + (self.reason is not None)

    @property
    def final(self) -> float:
        """Validation score after the last epoch; 0 if the run failed."""
        return 0.0 if self.reason is not None else self.scores[-1]

    @property
    def tested(self) -> float:
        """Test score after the last epoch; 0 if the run failed, NaN if it was not tested."""
        if self.reason is not None:
            return 0.0
        return float("nan") if self.test_score is None else self.test_score


@dataclass(frozen=True, eq=False)
class Pool:
    """All that was trained on one task, one run a configuration.

    Attributes:
        hub: where the runs are from.
        task: its row of the corpus.
        candidates: rows of the corpus, by name.
        runs: the first seed of each configuration (candidate, hyperparameters, horizon), failed ones
            included, in the order of their ids.
        repeats: final scores of all seeds, ascending by seed, by the id of the configuration's run; only of
            configurations with at least two seeds.
        sketches: pooled weight graphs, `fms_hub.weights.graph.WeightGraph.pooled`, by (run id, epoch);
            epoch 0 is the network before training.
        start: pooled weight graph of each candidate before training, where known, see
            `training.benchmarks.cached.start`.
        known: what else is known of the task and the candidates.
        weights: tensors by name, by (run id, epoch), where they were asked for, see `with_weights`.
    """

    hub: str
    task: TaskRow
    candidates: Mapping[str, CandidateRow]
    runs: tuple[CachedRun, ...]
    repeats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sketches: Mapping[tuple[str, int], Vector] = field(default_factory=dict)
    start: Mapping[str, Vector] = field(default_factory=dict)
    known: Known = field(default_factory=Known)
    weights: Mapping[tuple[str, int], Weights] = field(default_factory=dict)

    @property
    def horizon(self) -> int:
        """Epochs of the longest run."""
        return max(run.horizon for run in self.runs)

    @cached_property
    def configspace(self) -> ConfigurationSpace:
        """The space that the hub's configurations were drawn from."""
        return hub_space(self.hub)

    @cached_property
    def space(self) -> Space:
        """Encodes hyperparameters."""
        return Space(self.configspace)

    @cached_property
    def encoded(self) -> Vector:
        """Hyperparameters of all runs, (n, H)."""
        return self.space.encode([run.hyperparameters for run in self.runs])

    def only(self, chosen: Sequence[int]) -> Pool:
        """The pool of the given runs, by position."""
        return replace(self, runs=tuple(self.runs[index] for index in chosen))

    def finals(self) -> Vector:
        """Final validation scores of all runs, (n,)."""
        return np.array([run.final for run in self.runs])


class _Pooled(Mapping[tuple[str, int], Vector]):
    """Weight graphs of a corpus, unpacked and pooled when they are asked for, and then kept."""

    def __init__(self, graphs: Mapping[str, WeightGraph], keys: Sequence[str]) -> None:
        self._graphs = graphs
        self._keys = {(key.split("/")[0], int(key.split("/")[1])): key for key in keys}
        self._known: dict[tuple[str, int], Vector] = {}

    def __getitem__(self, key: tuple[str, int]) -> Vector:
        if key not in self._known:
            self._known[key] = self._graphs[self._keys[key]].pooled()
        return self._known[key]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def pools(folder: Path) -> dict[str, Pool]:
    """Read the pools of a corpus folder, by task in alphabetical order.

    Runs that neither failed nor reached their horizon are left out.

    Args:
        folder: of the shards of one hub.

    Raises:
        UsageError: there are no runs, runs of several hubs, or a task or candidate without its row.
    """
    corpus = read_corpus(folder)
    warn(corpus)
    hubs = sorted(corpus.rows.hub.unique())
    if len(hubs) != 1:
        there = ", ".join(hubs) or "no runs"
        raise UsageError(f"expected the runs of one hub in {folder}, found {there}; name a folder of shards.")
    tasks = {row.name: row for row in read_table(folder, TaskRow)}
    candidates = {row.name: row for row in read_table(folder, CandidateRow)}
    _named("task", corpus.rows.task, tasks, folder)
    _named("candidate", corpus.rows.candidate, candidates, folder)
    written = Written.read(folder)
    runs = _runs(corpus.rows)
    found: dict[str, Pool] = {}
    for task, group in corpus.rows.groupby("task", sort=True):
        first, repeats = _by_configuration([runs[run] for run in group.run.unique() if run in runs])
        if first:
            keys = [key for key in group.sketch.dropna() if key.split("/")[0] in {run.id for run in first}]
            sketches = _Pooled(corpus.graphs, keys)
            found[str(task)] = Pool(
                hubs[0],
                tasks[str(task)],
                candidates,
                first,
                repeats,
                sketches,
                known=written.known(tasks[str(task)], candidates),
            )
    return found


def with_weights(given: Mapping[str, Pool], folder: Path) -> dict[str, Pool]:
    """The runs whose weights were kept after any epoch, with these weights; tasks without such runs go.

    Args:
        given: pools of the folder, by task.
        folder: of the shards.

    Raises:
        UsageError: no weights were kept.
    """
    states: dict[tuple[str, int], dict[str, NDArray[Any]]] = {}
    for key, tensor in read_corpus(folder).tensors("raw").items():
        run, epoch, name = key.split("/", 2)
        states.setdefault((run, int(epoch)), {})[name] = tensor
    if not states:
        raise UsageError(f"{folder} has no run whose weights were kept; `--raw-every` of a sweep keeps them.")
    kept = {run for run, _ in states}
    found = {}
    for task, pool in given.items():
        chosen = [place for place, run in enumerate(pool.runs) if run.id in kept]
        ids = {pool.runs[place].id for place in chosen}
        if chosen:
            weights = {key: state for key, state in states.items() if key[0] in ids}
            found[task] = replace(pool.only(chosen), weights=weights)
    return found


def _named(kind: str, column: pd.Series[Any], rows: Mapping[str, object], folder: Path) -> None:
    missing = sorted(set(column) - rows.keys())
    if missing:
        raise UsageError(f"{folder} has runs of {', '.join(missing[:3])}, but no such row of a {kind}.")


def _runs(rows: pd.DataFrame) -> dict[str, CachedRun]:
    """All whole runs by id."""
    found: dict[str, CachedRun] = {}
    for key, group in rows[rows.epoch > 0].groupby("run", sort=False):
        last = group.iloc[-1]
        failed = last.status == "failed"
        if not failed and last.epoch < last.horizon:
            continue
        ok = group[group.status == "ok"]
        found[str(key)] = CachedRun(
            id=str(key),
            candidate=str(last.candidate),
            hyperparameters=json.loads(last.hyperparameters),
            horizon=int(last.horizon),
            seed=int(last.seed),
            scores=tuple(ok.validation_score.astype(float)),
            losses=tuple(None if np.isnan(loss) else float(loss) for loss in ok.train_loss.astype(float)),
            test_score=None if failed or pd.isna(last.test_score) else float(last.test_score),
            reason=str(last.reason) if failed else None,
        )
    return found


def _by_configuration(
    runs: Sequence[CachedRun],
) -> tuple[tuple[CachedRun, ...], dict[str, tuple[float, ...]]]:
    """The first seed of each configuration, and the final scores of those with more than one."""
    groups: dict[tuple[str, str, int], list[CachedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.id)):
        key = (run.candidate, json.dumps(run.hyperparameters, sort_keys=True), run.horizon)
        groups.setdefault(key, []).append(run)
    first = tuple(sorted((group[0] for group in groups.values()), key=lambda run: run.id))
    repeats = {g[0].id: tuple(run.final for run in g) for g in groups.values() if len(g) > 1}
    return first, repeats
