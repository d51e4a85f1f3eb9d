"""The Task: three labelled splits of images and what a search knows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import TaskError
from fms_hub.records import TaskInfo
from fms_hub.tasks.features import meta_features
from fms_hub.tasks.images import ArrayImages, EncodedImages, Images, taken
from fms_hub.tasks.splits import SPLITS, SplitName, check_classes, listed, stratified_cut

__all__ = ["Images", "Portion", "Split", "Task", "build_task", "task_from_arrays"]


@dataclass(frozen=True)
class Split:
    """Labelled images.

    Attributes:
        images: n images.
        labels: class indices, shape (n,).
    """

    images: Images
    labels: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Split:
        """Select images by position."""
        return Split(taken(self.images, rows), self.labels[rows])


@dataclass(frozen=True)
class Task:
    """An image classification task: validation chooses, test is scored once.

    Attributes:
        info: what travels with every log.
        train, validation, test: the three splits; every class occurs in train.
    """

    info: TaskInfo
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Portion:
    """Verified images on their way into a Task.

    Attributes:
        images: n images.
        labels: class indices, shape (n,).
        digests: sha256 of each image's content, n hex strings.
        sizes: upright width and height in pixels, shape (n, 2).
    """

    images: ArrayImages | EncodedImages
    labels: NDArray[np.int64]
    digests: tuple[str, ...]
    sizes: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Portion:
        """Select images by position."""
        digests = tuple(self.digests[i] for i in rows)
        return Portion(self.images.take(rows), self.labels[rows], digests, self.sizes[rows])


def build_task(
    name: str, classes: Sequence[str], portions: Mapping[SplitName, Portion], *, seed: int = 0
) -> Task:
    """Cut what is missing, fingerprint and describe.

    Args:
        name: what the user calls the dataset.
        classes: class names, index = label.
        portions: the splits that exist, ``train`` among them.
        seed: of the cuts and of the sample that the meta-features look at.

    Raises:
        TaskError: as `check_classes`.
    """
    check_classes(classes, {split: portion.labels for split, portion in portions.items()})
    whole = dict(portions)
    generator = np.random.default_rng(seed)
    for split in reversed(SPLITS):
        if split not in whole:
            kept, cut = stratified_cut(whole["train"].labels, generator)
            whole[split], whole["train"] = whole["train"].take(cut), whole["train"].take(kept)
    seen = whole["train"]
    info = TaskInfo(
        name=name,
        fingerprint=_fingerprint(classes, whole),
        classes=tuple(classes),
        sizes={split: len(whole[split].labels) for split in SPLITS},
        features=meta_features(seen.images, seen.labels, len(classes), seen.sizes, seed=seed),
    )
    train, validation, test = (Split(whole[split].images, whole[split].labels) for split in SPLITS)
    return Task(info, train, validation, test)


def _fingerprint(classes: Sequence[str], portions: Mapping[SplitName, Portion]) -> str:
    """Hash image contents, labels and splits; the order of images within a split does not matter."""
    rows: Iterable[str] = (
        f"{split} {label} {digest}"
        for split, portion in portions.items()
        for label, digest in zip(portion.labels, portion.digests, strict=True)
    )
    total = hashlib.sha256(repr(tuple(classes)).encode())
    for row in sorted(rows):
        total.update(f"\n{row}".encode())
    return total.hexdigest()


def task_from_arrays(
    name: str,
    classes: Sequence[str],
    *,
    train: tuple[NDArray[np.uint8], NDArray[Any]],
    validation: tuple[NDArray[np.uint8], NDArray[Any]] | None = None,
    test: tuple[NDArray[np.uint8], NDArray[Any]] | None = None,
    seed: int = 0,
) -> Task:
    """Make a Task of arrays in memory.

    Args:
        name: what to call the dataset.
        classes: k distinct class names, index = label.
        train: images, uint8 (n, h, w) or (n, h, w, 3), and their integer labels, (n,), in 0 .. k - 1.
        validation, test: the same; None has it cut from train, stratified, 20 % of every class.
        seed: of the cuts and of the sample that the meta-features look at.

    Raises:
        TaskError: an array of another type, shape or length; labels out of range; as `check_classes`.
    """
    if len(set(classes)) != len(classes):
        raise TaskError(
            f"class names must be distinct, found {listed(list(classes), 20)}. Rename the doubles."
        )
    given: dict[SplitName, tuple[NDArray[np.uint8], NDArray[Any]] | None]
    given = {"train": train, "validation": validation, "test": test}
    portions = {
        split: _portion(split, *pair, len(classes)) for split, pair in given.items() if pair is not None
    }
    return build_task(name, classes, portions, seed=seed)


def _portion(split: SplitName, pixels: NDArray[np.uint8], labels: NDArray[Any], classes: int) -> Portion:
    pixels, labels = np.asarray(pixels), np.asarray(labels)
    gray_or_rgb = pixels.ndim == 3 or (pixels.ndim == 4 and pixels.shape[3] == 3)
    if pixels.dtype != np.uint8 or not gray_or_rgb or 0 in pixels.shape[1:]:
        raise TaskError(
            f"{split} images must be uint8 of shape (n, height, width) or (n, height, width, 3), found "
            f"{pixels.dtype} of shape {pixels.shape}. Convert them."
        )
    if labels.shape != pixels.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise TaskError(
            f"{split} labels must be integers of shape ({len(pixels)},), one for each image, found "
            f"{labels.dtype} of shape {labels.shape}."
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise TaskError(
            f"{split} labels must lie in 0 .. {classes - 1}, found {labels.min()} .. {labels.max()}. "
            "Name every class, and leave images without a label out."
        )
    digests = tuple(
        hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest() for image in pixels
    )
    sizes = np.tile(np.array([pixels.shape[2], pixels.shape[1]], dtype=np.int64), (len(pixels), 1))
    return Portion(ArrayImages(pixels), labels.astype(np.int64), digests, sizes)
