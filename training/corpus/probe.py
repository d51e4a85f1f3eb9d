"""Linear probes: how good a candidate is on a task without fine-tuning, to compare runs with.

n = images, d = features.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from fms_hub.corpus.schema import Fault, ProbeRow, TaskRow
from fms_hub.corpus.shards import read_shards
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.finetune.epoch import Stage, probabilities
from fms_hub.finetune.gallery import Gallery
from fms_hub.finetune.scores import METRICS
from fms_hub.models.from_timm import TimmNetwork
from fms_hub.models.zoo import build
from fms_hub.records import Candidate
from fms_hub.tasks.task import Split, Task
from training.corpus.candidates import resolve
from training.corpus.tasks import read_task

REGULARISATIONS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C that are tried, on standardised features."""
_STEPS = 500


@dataclass(frozen=True)
class Features:
    """What a network's head is given: (n, d) float32, and the labels (n,)."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]


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


def _pairs(folder: Path) -> set[tuple[str, str]]:
    rows = read_shards(folder)
    there = {(row.task, row.candidate) for row in read_table(folder, ProbeRow)}
    return set(zip(rows.task, rows.candidate, strict=True)) - there


def probe(candidate: Candidate, task: Task, row: TaskRow) -> ProbeRow:
    """Fit a logistic regression to the features of a candidate that is not fine-tuned.

    Args:
        candidate: a timm network.
        task: its images.
        row: the task's image size and metric.
    """
    features = _features(candidate, task, row.image_size)
    scaler = StandardScaler().fit(features["train"].values)
    scaled = {name: Features(scaler.transform(part.values), part.labels) for name, part in features.items()}
    metric = METRICS[row.metric]
    found = []
    for strength in REGULARISATIONS:
        model = LogisticRegression(C=strength, max_iter=_STEPS, tol=1e-3)
        # Several threads on so small a problem take up to a hundred times as long beside another job.
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly fitted is a probe
            model.fit(scaled["train"].values, scaled["train"].labels)
        scores = {
            name: metric(scaled[name].labels, model.predict(scaled[name].values))
            for name in ("validation", "test")
        }
        found.append((scores["validation"], scores["test"], strength))
    validation, test, strength = max(found, key=lambda item: (item[0], -item[2]))
    return ProbeRow(row.name, candidate.name, validation, test, strength, features["train"].values.shape[1])


def _features(candidate: Candidate, task: Task, image_size: int | None) -> Mapping[str, Features]:
    model = build(candidate, classes=len(task.info.classes), image_size=image_size, seed=0)
    assert isinstance(model.module, TimmNetwork)
    head = model.module.get_classifier()
    assert isinstance(head, nn.Module)
    stage = Stage(model.input, torch.device("cpu"), torch.contiguous_format)
    gallery = Gallery(task)
    found = {}
    splits: dict[str, Split] = {"train": task.train, "validation": task.validation, "test": task.test}
    for name, split in splits.items():
        with _inputs_of(head) as inputs:
            probabilities(model.module, gallery.evaluation(split, model.input), stage)
        found[name] = Features(torch.cat(inputs).float().flatten(1).numpy(), split.labels)
    return found


@contextmanager
def _inputs_of(head: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what the head is given meanwhile, batch by batch."""
    seen: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    try:
        yield seen
    finally:
        handle.remove()
