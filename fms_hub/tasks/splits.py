"""Which image belongs to which split: names, checks and stratified cuts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import TaskError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")

CUT_FRACTION = 0.2
"""Share of the training images of a class that a missing split receives, each time one is cut."""

_SMALLEST_CLASS = 2

_SPELLINGS: Mapping[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}


def split_name(text: str) -> SplitName | None:
    """Read a split's usual spellings (train, val, valid, validation, dev, test ..., any case)."""
    return _SPELLINGS.get(text.lower())


def check_classes(classes: Sequence[str], labels: Mapping[SplitName, NDArray[np.int64]]) -> None:
    """Check that every class can be trained, validated and tested.

    Args:
        classes: class names, index = label.
        labels: labels of the splits that exist, (n,) each, in 0 .. len(classes) - 1; ``train`` among them.

    Raises:
        TaskError: fewer than two classes; an empty split; a class without training images; a class too small
            for the splits that have to be cut from train.
    """
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "none"
        raise TaskError(
            f"classification needs at least two classes, found {found}. Add images of another class."
        )
    for name, values in labels.items():
        if len(values) == 0:
            raise TaskError(
                f"the {name} split holds no images. Fill it, or leave it out to have it cut from train."
            )
    counts = np.bincount(labels["train"], minlength=len(classes))
    _check_absent(classes, counts, labels)
    _check_small(classes, counts, [name for name in SPLITS if name not in labels])


def _check_absent(
    classes: Sequence[str], counts: NDArray[np.int64], labels: Mapping[SplitName, NDArray[np.int64]]
) -> None:
    absent = np.flatnonzero(counts == 0)
    if len(absent) == 0:
        return
    where = [name for name in SPLITS[1:] if name in labels and np.isin(absent, labels[name]).any()]
    elsewhere = f"; found only in {' and '.join(where)}" if where else ""
    raise TaskError(
        f"every class needs training images, but {listed([classes[int(i)] for i in absent])} "
        f"{'has' if len(absent) == 1 else 'have'} none{elsewhere}. Add some, or remove the class."
    )


def _check_small(classes: Sequence[str], counts: NDArray[np.int64], missing: Sequence[str]) -> None:
    needed = 1 + len(missing)
    small = np.flatnonzero(counts < needed)
    if len(small) == 0:
        return
    raise TaskError(
        f"cutting {' and '.join(missing)} from train needs at least {needed} images of every class, but "
        f"found {listed([f'{classes[int(i)]} ({counts[i]})' for i in small])}. Add images, give your own "
        "splits, or remove the class."
    )


def stratified_cut(
    labels: NDArray[np.int64], generator: np.random.Generator, *, fraction: float = CUT_FRACTION
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a share off every class, at least one image of each.

    Args:
        labels: shape (n,); at least two of every class that occurs.
        generator: draws which ones.
        fraction: share of each class that is cut, in (0, 1), rounded; one image always stays.

    Returns:
        Indices kept and indices cut, each ascending.
    """
    cut = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        cut[generator.permutation(members)[:count]] = True
    return np.flatnonzero(~cut), np.flatnonzero(cut)


def stratified_subset(
    labels: NDArray[np.int64], limit: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Choose at most `limit` positions, ascending, each class by its share but at least two of it.

    Raises:
        TaskError: the limit is below two images of every class.
    """
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if limit < _SMALLEST_CLASS * len(classes):
        raise TaskError(
            f"{len(classes)} classes need a limit of at least {_SMALLEST_CLASS * len(classes)} training "
            f"images, found {limit}."
        )
    # Every image gets its place within its class, as a fraction: the lowest fractions overall are stratified.
    order = generator.permutation(len(labels))
    place = np.empty(len(labels))
    for label in range(len(classes)):
        members = order[inverse[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / counts[label]
        place[members[:_SMALLEST_CLASS]] = -1
    return np.sort(order[np.argsort(place[order], kind="stable")][:limit])


def listed(names: Sequence[str], most: int = 5) -> str:
    """Join names for a message, the first few and the count of the rest."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
