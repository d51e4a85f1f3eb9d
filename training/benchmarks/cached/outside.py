"""Tasks of which only logs of others are at hand, as questions without weights.

Asked is how each run stands at the last epoch that its log has, before anything of it was seen. Of timm's
results, which have no runs, each checkpoint is asked for its accuracy on ImageNet at the end of a full run
with default hyperparameters; that accuracy is taken out of its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.corpus.shards import read_corpus, warn
from fms_hub.corpus.tables import read_table
from fms_hub.errors import UsageError
from fms_hub.search.encoding import Problem, Query, encode
from fms_hub.search.known import Known
from fms_hub.search.space import Space
from fms_hub.surrogate.inputs import Inputs
from training.benchmarks.cached.known import Written
from training.corpus.log import task_row
from training.corpus.problem import problem_of_task

TIMM, IMAGENET = "timm", "imagenet1k"
FULL_RUN = 16
"""Epochs of a full run where a log has none: the longest of the timm-tiny hub."""


@dataclass(frozen=True, eq=False)
class Outside:
    """One task of an outside log.

    Attributes:
        hub: of the log.
        task: its row.
        inputs: (n, ...), one row for each run.
        scores: (n,), above chance.
    """

    hub: str
    task: TaskRow
    inputs: Inputs
    scores: NDArray[np.float64]


def read_outside(folder: Path) -> list[Outside]:
    """All tasks that ``python -m training.corpus outside`` wrote; failed runs are left out.

    Raises:
        UsageError: the folder has neither runs nor timm's results.
    """
    corpus = read_corpus(folder)
    warn(corpus)
    candidates = {row.name: row for row in read_table(folder, CandidateRow)}
    tasks = {(row.hub, row.name): row for row in read_table(folder, TaskRow)}
    written = Written.read(folder)
    found = []
    if len(corpus.rows):
        for (hub, name), rows in corpus.rows.groupby(["hub", "task"], sort=True):
            task = tasks[str(hub), str(name)]
            found.append(_of_runs(str(hub), task, rows, written.known(task, candidates)))
    results = [row for row in candidates.values() if row.name.startswith(f"{TIMM}/") and row.accuracy]
    if results:
        found.append(_of_results(results, written))
    if not found:
        raise UsageError(
            f"{folder} has no logs of others; write them with `python -m training.corpus outside`."
        )
    return found


def _of_runs(hub: str, task: TaskRow, rows: pd.DataFrame, known: Known) -> Outside:
    last = rows[rows.epoch > 0].sort_values("epoch").groupby("run").tail(1)
    last = last[last.status == "ok"].sort_values("run")
    queries = list(_queries(last))
    problem = _problem(task, known, tuple(sorted({query.candidate for query in queries})))
    scores = [problem.above_chance(score) for score in last.validation_score.astype(float)]
    return Outside(hub, task, encode(problem, queries), np.array(scores))


def _queries(last: pd.DataFrame) -> Iterator[Query]:
    for row in last.itertuples():
        values: dict[str, Any] = json.loads(str(row.hyperparameters))
        yield Query(str(row.candidate), values, int(str(row.horizon)), int(str(row.epoch)), (), None, None)


def _of_results(results: list[CandidateRow], written: Written) -> Outside:
    task = task_row(
        TIMM, IMAGENET, group="objects", classes=1000, image_size=224, licence="", source="timm's results"
    )
    blind: Mapping[str, CandidateRow] = {row.name: replace(row, accuracy=None) for row in results}
    problem = _problem(task, written.known(task, blind), tuple(sorted(blind)))
    defaults = problem.space.default()
    queries = [Query(row.name, defaults, FULL_RUN, FULL_RUN, (), None, None) for row in results]
    scores = [problem.above_chance(row.accuracy or 0.0) for row in results]
    return Outside(TIMM, task, encode(problem, queries), np.array(scores))


def _problem(task: TaskRow, known: Known, candidates: tuple[str, ...]) -> Problem:
    return problem_of_task(task, candidates, Space(), FULL_RUN, known=known)
