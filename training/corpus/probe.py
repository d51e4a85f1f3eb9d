"""Probes: how good a candidate is on a task without fine-tuning.

Linear probes are what runs are compared with; the others what a surrogate may know before the first epoch.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fms_hub.corpus.schema import EmbeddingRow, Fault, ProbeRow, TaskRow
from fms_hub.corpus.shards import read_shards
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.finetune.embedding import task_embedding
from fms_hub.finetune.features import FeatureReader, Features, sample
from fms_hub.finetune.gallery import Gallery
from fms_hub.finetune.scores import METRICS, Metric
from fms_hub.records import Candidate
from fms_hub.surrogate.probes import probe_scores
from fms_hub.tasks.task import Task
from training.corpus.candidates import resolve
from training.corpus.small_net import CANDIDATE as SMALL_CNN
from training.corpus.tasks import read_task

REGULARISATIONS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C that are tried, on standardised features."""
_STEPS = 500


@dataclass(frozen=True)
class _Linear:
    """A fitted linear probe: its scores, and its C."""

    validation: float
    test: float
    strength: float


def probe_all(folder: Path, data: Path, seconds: float) -> int:
    """Probe every (task, candidate) pair of the folder's runs that has no probe yet; returns how many.

    Args:
        folder: of shards; the probes go into its table.
        data: folder of the dataset files, or a pack.
        seconds: time limit.

    Raises:
        Fault: a task of the runs is not in the table of tasks.
    """
    deadline = time.monotonic() + seconds
    embed_all(folder, data)
    tasks = {row.name: row for row in read_table(folder, TaskRow)}
    done = 0
    for name, pairs in groupby(sorted(_pairs(folder)), key=lambda pair: pair[0]):
        if name not in tasks:
            raise Fault(f"{folder} has runs on {name}, but no such task in its table")
        if time.monotonic() > deadline:
            break
        row = tasks[name]
        task = read_task(data, name, row.images)
        for _, candidate in pairs:
            if time.monotonic() > deadline:
                break
            add_rows(folder, ProbeRow, [probe(resolve(candidate), task, row)])
            done += 1
    return done


def embed_all(folder: Path, data: Path) -> None:
    """Put the embedding of every task of the folder that has none yet into its table.

    Args:
        folder: of shards.
        data: folder of the dataset files, or a pack.
    """
    there = {row.task for row in read_table(folder, EmbeddingRow)}
    for row in read_table(folder, TaskRow):
        if row.name not in there:
            task = read_task(data, row.name, row.images)
            add_rows(folder, EmbeddingRow, [EmbeddingRow(row.name, task_embedding(task))])


def _pairs(folder: Path) -> set[tuple[str, str]]:
    rows = read_shards(folder)
    there = {(row.task, row.candidate) for row in read_table(folder, ProbeRow)}
    pairs = set(zip(rows.task, rows.candidate, strict=True)) - there
    return {(task, candidate) for task, candidate in pairs if candidate != SMALL_CNN}


def probe(candidate: Candidate, task: Task, row: TaskRow) -> ProbeRow:
    """Probe a candidate that is not fine-tuned.

    Args:
        candidate: any that `fms_hub.finetune.features` can read.
        task: its images.
        row: the task's image size and metric.
    """
    reader = FeatureReader(candidate, len(task.info.classes), image_size=row.image_size)
    gallery = Gallery(task)
    train, validation, test = (
        reader.read(split, gallery) for split in (task.train, task.validation, task.test)
    )
    best = _linear_probe(train, validation, test, METRICS[row.metric])
    few = train.take(sample(task))
    scores = probe_scores(few.values, few.labels, few.source_probabilities, seed=0)
    return ProbeRow(
        task=row.name,
        candidate=candidate.name,
        validation_score=best.validation,
        test_score=best.test,
        regularisation=best.strength,
        features=train.values.shape[1],
        logme=scores.logme,
        h_score=scores.h_score,
        knn=scores.knn,
        linear=scores.linear,
        leep=scores.leep,
        nce=scores.nce,
    )


def _linear_probe(train: Features, validation: Features, test: Features, metric: Metric) -> _Linear:
    """The logistic regression that is best on the validation split; the strongest regularised of equals."""
    scaler = StandardScaler().fit(train.values)
    found = []
    for strength in REGULARISATIONS:
        model = LogisticRegression(C=strength, max_iter=_STEPS, tol=1e-3)
        # Several threads on so small a problem take up to a hundred times as long beside another job.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly fitted is a probe
            model.fit(scaler.transform(train.values), train.labels)
        chosen, tested = (
            metric(part.labels, model.predict(scaler.transform(part.values))) for part in (validation, test)
        )
        found.append(_Linear(chosen, tested, strength))
    return max(found, key=lambda item: (item.validation, -item.strength))
