"""Tasks from arrays: cuts, fingerprints, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from fms_hub.errors import TaskError
from fms_hub.tasks.task import Task, task_from_arrays

CLASSES = ("even", "odd")
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


@pytest.fixture
def labelled(scans: NDArray[np.uint8]) -> Labelled:
    return scans[:60], np.arange(60) % 2


def shown(task: Task) -> dict[str, list[tuple[bytes, int]]]:
    splits = {"train": task.train, "validation": task.validation, "test": task.test}
    return {
        name: [(split.images[i].tobytes(), int(split.labels[i])) for i in range(len(split.images))]
        for name, split in splits.items()
    }


def test_missing_splits_are_cut_from_train(labelled: Labelled) -> None:
    task = task_from_arrays("parity", CLASSES, train=labelled)
    assert task.info.sizes == {"train": 38, "validation": 10, "test": 12}
    assert np.bincount(task.test.labels).tolist() == [6, 6]
    assert np.bincount(task.validation.labels).tolist() == [5, 5]
    rows = shown(task)
    everything = sorted(rows["train"] + rows["validation"] + rows["test"])
    whole = task_from_arrays("parity", CLASSES, train=labelled, validation=labelled, test=labelled)
    assert everything == sorted(shown(whole)["train"])


def test_given_splits_stay_whole(labelled: Labelled) -> None:
    images, labels = labelled
    first, rest = (images[:20], labels[:20]), (images[20:], labels[20:])
    task = task_from_arrays("parity", CLASSES, train=rest, test=first)
    assert task.info.sizes == {"train": 32, "validation": 8, "test": 20}
    assert (
        shown(task)["test"]
        == shown(task_from_arrays("p", CLASSES, train=first, validation=first, test=first))["test"]
    )
    task = task_from_arrays("parity", CLASSES, train=rest, validation=first)
    assert task.info.sizes == {"train": 32, "validation": 20, "test": 8}


def test_info(labelled: Labelled) -> None:
    info = task_from_arrays("parity", CLASSES, train=labelled).info
    assert (info.name, info.classes) == ("parity", CLASSES)
    assert info.features["log_images"] == pytest.approx(np.log(38))
    assert len(info.fingerprint) == 64


def test_the_seed_decides_the_cut(labelled: Labelled) -> None:
    tasks = [task_from_arrays("parity", CLASSES, train=labelled, seed=seed) for seed in (3, 3, 4)]
    assert shown(tasks[0]) == shown(tasks[1]) != shown(tasks[2])
    assert tasks[0].info == tasks[1].info
    assert tasks[0].info.fingerprint != tasks[2].info.fingerprint


def whole(images: NDArray[np.uint8], labels: NDArray[np.int64], classes: tuple[str, ...] = CLASSES) -> str:
    """Fingerprint a task of given splits: 40 train, 10 validation, 10 test."""
    parts = [(images[rows], labels[rows]) for rows in (slice(0, 40), slice(40, 50), slice(50, 60))]
    task = task_from_arrays("parity", classes, train=parts[0], validation=parts[1], test=parts[2])
    return task.info.fingerprint


def test_the_fingerprint_sees_pixels_labels_splits_and_class_names(labelled: Labelled) -> None:
    images, labels = labelled
    original = whole(images, labels)
    pixel, label = images.copy(), labels.copy()
    pixel[17, 3, 3] ^= 1
    label[17] = 1 - label[17]
    moved = np.r_[1:41, 0, 41:60]
    others = [whole(pixel, labels), whole(images, label), whole(images[moved], labels[moved])]
    others.append(whole(images, labels, ("odd", "even")))
    assert len({original, *others}) == 5


def test_the_fingerprint_ignores_the_order_within_splits(labelled: Labelled) -> None:
    images, labels = labelled
    order = np.r_[np.arange(40)[::-1], 40:60]
    assert whole(images[order], labels[order]) == whole(images, labels)


def test_the_fingerprint_ignores_the_name(labelled: Labelled) -> None:
    a, b = (task_from_arrays(name, CLASSES, train=labelled).info.fingerprint for name in ("a", "b"))
    assert a == b


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x.astype(float), y), "uint8 .* found float64 of shape"),
        (lambda x, y: (x[:, 0], y), r"uint8 .* found uint8 of shape \(60, 8\)"),
        (lambda x, y: (np.stack([x] * 4, axis=3), y), r"found uint8 of shape \(60, 8, 8, 4\)"),
        (lambda x, y: (x, y[:-1]), r"labels must be integers of shape \(60,\)"),
        (lambda x, y: (x, y.astype(str)), "labels must be integers"),
        (lambda x, y: (x, y - 1), r"must lie in 0 \.\. 1, found -1 \.\. 0"),
        (lambda x, y: (x, y + 1), r"must lie in 0 \.\. 1, found 1 \.\. 2"),
        (lambda x, y: (x, np.zeros_like(y)), "odd has none"),
        (lambda x, y: (x[:0], y[:0]), "train split holds no images"),
        (lambda x, y: (x, (np.arange(60) == 7).astype(int)), r"odd \(1\)"),
    ],
)
def test_arrays_that_are_refused(labelled: Labelled, change, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        task_from_arrays("parity", CLASSES, train=change(*labelled))


def test_a_split_in_trouble_is_named(labelled: Labelled) -> None:
    with pytest.raises(TaskError, match="test labels must lie"):
        task_from_arrays("parity", CLASSES, train=labelled, test=(labelled[0], labelled[1] - 1))


def test_class_names_must_differ(labelled: Labelled) -> None:
    with pytest.raises(TaskError, match="distinct, found odd, odd"):
        task_from_arrays("parity", ("odd", "odd"), train=labelled)


def test_digits_need_neither_datasets_nor_torch() -> None:
    script = (
        "import sys, fms_hub.tasks.task\n"
        "assert 'sklearn' not in sys.modules\n"
        "from fms_hub.tasks.dataset import load_task\n"
        "assert load_task('digits').info.name == 'digits'\n"
        "print(sorted({'datasets', 'torch', 'timm', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
