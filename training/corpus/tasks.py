"""The tasks of the sweeps: what an epoch of them is, what they are scored by, where their images are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import TaskError
from fms_hub.tasks.images import ArrayImages
from fms_hub.tasks.splits import stratified_subset
from fms_hub.tasks.task import Split, Task, task_from_arrays
from training.corpus.packed import read_pack
from training.data import Provenance, read_npz, read_provenance

IMAGE_SIZE = 32
"""Pixels at which all candidates of the timm-tiny hub train."""
EPOCH_IMAGES = 2000
"""An epoch of the timm-tiny hub is this many images, or the whole training split if it is smaller."""
VALIDATION_IMAGES = 500
TEST_IMAGES = 2000
SPLIT_SEED = 0
"""The splits of a task are the same in all runs, also in those repeated with another seed."""

TIMM_TINY = (
    "flowers5",
    "dtd10",
    "hymenoptera",
    "smiles",
    "gtsrb",
    "usps",
    "pacs:art",
    "pacs:cartoon",
    "pacs:photo",
    "pacs:sketch",
    "pneumoniamnist",
    "fashion_mini",
    "cmater_devanagari",
)
"""Tasks of the timm-tiny hub, ``DATASET`` or ``DATASET:DOMAIN``."""
SMALL_CNN = ("cifar10", "gtsrb", "mnist", "smiles", "cmater_bangla", "flowers5")
"""Tasks of the small-cnn hub."""

_BALANCED = ("pneumoniamnist",)
"""Datasets of unequal classes, where accuracy would reward guessing."""


def dataset(task: str) -> str:
    """The dataset that a task's images are from."""
    return task.partition("@")[0].partition(":")[0]


def names(data: Path, tasks: Sequence[str]) -> list[str]:
    """What tasks are called where they are read from: from a pack ``NAME@DIGEST``, else as they are.

    Raises:
        TaskError: the pack has no such task.
    """
    return [read_pack(data).name(task) for task in tasks] if data.is_file() else list(tasks)


def limit(data: Path, images: int | None) -> int | None:
    """The number of images that `read_task` goes by: none for a pack, which has been cut already."""
    return None if data.is_file() else images


def provenance(data: Path, name: str) -> Provenance:
    """Where a task's images come from.

    Raises:
        TaskError: as `read_task`.
    """
    if data.is_file():
        return read_pack(data).provenance(name)
    return read_provenance(data / f"{dataset(name)}.npz")


def metric(task: str) -> str:
    """The score of a task, a name in `fms_hub.finetune.scores.METRICS`."""
    return "balanced_accuracy" if dataset(task) in _BALANCED else "accuracy"


def read_task(data: Path, name: str, images: int | None) -> Task:
    """Read a task.

    Args:
        data: folder of the dataset files, or a pack.
        name: of the task; in a pack with ``@`` and its digest.
        images: most training images, validation included, and all of the test split; None gives the
            splits of the timm-tiny hub: stratified subsets of `EPOCH_IMAGES`, `VALIDATION_IMAGES` and
            `TEST_IMAGES`, or all there are. A pack has these splits, whatever is asked for.

    Raises:
        TaskError: as `training.data.read_npz`; a task of another pack.
    """
    if data.is_file():
        return read_pack(data).task(name)
    if "@" in name:
        raise TaskError(f"{name!r} is a task of a pack, and {data} is none. Name the pack.")
    _, _, domain = name.partition(":")
    path = data / f"{dataset(name)}.npz"
    if images is not None:
        return read_npz(path, domain=domain or None, limit=images, seed=SPLIT_SEED)
    # Whole, because what a cut leaves of a limited set may be a few images short of an epoch.
    return capped(read_npz(path, domain=domain or None, seed=SPLIT_SEED))


def capped(task: Task) -> Task:
    """The same task with at most as many images as a sweep uses of each split."""
    parts = {
        "train": _subset(task.train, EPOCH_IMAGES),
        "validation": _subset(task.validation, VALIDATION_IMAGES),
        "test": _subset(task.test, TEST_IMAGES),
    }
    return task_from_arrays(task.info.name, task.info.classes, **parts, seed=SPLIT_SEED)


def _subset(split: Split, most: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    assert isinstance(split.images, ArrayImages)
    rows = np.arange(len(split.labels))
    if len(rows) > most:
        rows = stratified_subset(split.labels, most, np.random.default_rng(SPLIT_SEED))
    return split.images.pixels[rows], split.labels[rows]
