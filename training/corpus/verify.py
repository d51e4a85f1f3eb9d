"""Rebuilds runs from what the corpus recorded of them, and compares every score."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from fms_hub.corpus.schema import Fault, Row, TaskRow
from fms_hub.corpus.shards import Corpus, read_corpus
from fms_hub.corpus.tables import read_table
from fms_hub.finetune.trainer import Trainer
from fms_hub.tasks.task import Task
from training.corpus import run as fine_tuning
from training.corpus import small_cnn
from training.corpus.holdings import noise, runs_of
from training.corpus.plan import PlannedRun
from training.corpus.runlog import RunLog
from training.corpus.tasks import read_task

DEVIATIONS = 3.0
"""A score may differ by so many standard deviations of the recorded noise between seeds."""


@dataclass(frozen=True)
class Rebuilt:
    """A run that was trained once more.

    Attributes:
        run, task, candidate: of the run.
        scores: how many validation and test scores were compared.
        largest: difference between a recorded and a new score; 1.0 where one is there and the other not.
        allowed: largest difference that the recorded noise explains; 0.0 where no noise was recorded.
    """

    run: str
    task: str
    candidate: str
    scores: int
    largest: float
    allowed: float

    @property
    def agrees(self) -> bool:
        """Whether all scores lie within the noise."""
        return self.largest <= self.allowed


def verify(folder: Path, data: Path, runs: int, seed: int) -> Iterator[Rebuilt]:
    """Rebuild a random sample of a folder's runs, one after the other.

    Args:
        folder: of shards.
        data: folder of the dataset files, or a pack.
        runs: how many; all if there are fewer.
        seed: of the sample.

    Raises:
        Fault: a shard or table is refused, the dataset has other images than those that were recorded, or a
            run's id is not that of its settings.
        TaskError: a dataset file is absent or damaged.
    """
    corpus = read_corpus(folder)
    if corpus.refused:
        raise Fault(f"{folder}: {corpus.refused[0].name} is refused: {corpus.refused[0].why}")
    tasks = {(row.hub, row.name): row for row in read_table(folder, TaskRow) if row.fingerprint is not None}
    keys = pd.Series(list(zip(corpus.rows.hub, corpus.rows.task, strict=True)))
    known = corpus.rows.run[keys.isin(set(tasks)).to_numpy(bool)].unique()
    if not len(known):
        raise Fault(f"{folder} has no runs that can be trained again")
    chosen = np.random.default_rng(seed).permutation(known)[:runs]
    for name in chosen:
        rows = corpus.rows[corpus.rows.run == name]
        yield _rebuilt(rows, tasks[rows.hub.iloc[0], rows.task.iloc[0]], data, _allowed(corpus, rows))


def _allowed(corpus: Corpus, rows: pd.DataFrame) -> float:
    found = noise(runs_of(corpus.rows[corpus.rows.hub == rows.hub.iloc[0]])).deviation
    return 0.0 if found is None else DEVIATIONS * found


def _rebuilt(rows: pd.DataFrame, task: TaskRow, data: Path, allowed: float) -> Rebuilt:
    first = rows.iloc[0]
    values = json.loads(first.hyperparameters)
    planned = PlannedRun(first.task, first.candidate, values, int(first.horizon), int(first.seed))
    if planned.id != first.run:
        raise Fault(f"the settings of run {first.run} give the id {planned.id}: they were changed")
    again = rebuild(planned, task, data).rows
    columns = ["validation_score", "test_score"]
    return Rebuilt(
        run=first.run,
        task=first.task,
        candidate=first.candidate,
        scores=int(rows[columns].notna().to_numpy().sum()),
        largest=_largest(rows.set_index("epoch")[columns], again),
        allowed=allowed,
    )


def rebuild(planned: PlannedRun, task: TaskRow, data: Path) -> RunLog:
    """Train a run once more, on the CPU.

    Args:
        planned: the run.
        task: its row in the table of tasks.
        data: folder of the dataset files, or a pack.

    Raises:
        Fault: the dataset has other images than those that were recorded.
    """
    images = read_task(data, task.name, task.images)
    _require_same(images, task)
    if task.hub == small_cnn.HUB:
        return small_cnn.train_run(planned, small_cnn.GreyTask.of(images), keep_raw=False)
    trainer = Trainer(images, metric=task.metric, image_size=task.image_size, device="cpu", seed=planned.seed)
    return fine_tuning.train_run(planned, trainer, hub=task.hub, timed=False)


def _require_same(images: Task, task: TaskRow) -> None:
    if images.info.fingerprint != task.fingerprint:
        raise Fault(
            f"{task.name} has other images or splits here than its runs saw: "
            f"fingerprint {images.info.fingerprint[:12]}, recorded {str(task.fingerprint)[:12]}"
        )


def _largest(recorded: pd.DataFrame, again: Sequence[Row]) -> float:
    new = pd.DataFrame(
        {
            "validation_score": [row.validation_score for row in again],
            "test_score": [row.test_score for row in again],
        },
        index=[row.epoch for row in again],
        dtype=float,
    )
    both = recorded.astype(float).align(new)
    one_only = both[0].notna() != both[1].notna()
    return float((both[0] - both[1]).abs().fillna(0.0).mask(one_only, 1.0).to_numpy().max())
