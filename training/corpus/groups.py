"""Groups of datasets whose images cannot leak into each other's, from ``splits.json``."""

from __future__ import annotations

from training.corpus.tasks import dataset

_SAME_IMAGES = (frozenset({"tiny_imagenet", "tiny_imagenet32"}),)
"""Datasets of which one holds images of another."""


def leaks(source: str | None, task: str) -> bool:
    """Whether a candidate pretrained on ``source`` has seen images of the task; all domains count as seen."""
    if source is None:
        return False
    there = {dataset(source), dataset(task)}
    return len(there) == 1 or any(there <= same for same in _SAME_IMAGES)
