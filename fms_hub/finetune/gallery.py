"""The gallery: a task's images as one network sees them, kept in memory between epochs where they fit.

n = images of a split, S = height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fms_hub.errors import UsageError
from fms_hub.finetune.batches import Batch, TransformedImages, in_memory, in_order, pixels_of, shuffled
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.transforms import evaluation_transform, training_transform
from fms_hub.models.model import InputSpec
from fms_hub.tasks.images import ArrayImages, Images, KeptImages, shrunk
from fms_hub.tasks.task import Split, Task

KEPT_BYTES = 512 * 2**20
"""Most memory for transformed pixels, and as much again for reduced originals."""
EVALUATION_BATCH = 256
_MOST_WORKERS = 8
_SMALL = 64
"""Up to this many pixels, augmenting an image that is in memory takes less time than handing it over."""


@dataclass(frozen=True)
class Feed:
    """One pass over a split: the number of batches, and the batches."""

    steps: int
    batches: Iterator[Batch]


class Gallery:
    """Feeds the splits of one task to networks.

    Args:
        task: whose images.
        workers: processes that decode and transform; None chooses: none for what is in memory and small, else
            as many as torch has threads, at most 8.

    Raises:
        UsageError: `workers` is negative.
    """

    def __init__(self, task: Task, workers: int | None = None) -> None:
        if workers is not None and workers < 0:
            raise UsageError(f"workers must be None or a number of processes >= 0, found {workers}.")
        self._task = task
        self._workers = workers
        self._pixels: dict[tuple[str, InputSpec], Tensor | None] = {}
        self._reduced: tuple[int, Images] | None = None

    def training(self, spec: InputSpec, recipe: Recipe, seed: int) -> Feed:
        """The training split in an order, and in views, that the seed fixes."""
        split = self._task.train
        indices = shuffled(len(split.images), recipe.batch_size, seed)
        kept = self._kept("train", split, spec) if recipe.augmentation == 0 else None
        if kept is not None:
            return _from_memory(kept, split, indices)
        images = self._reduced_training(spec) if recipe.augmentation else split.images
        view = TransformedImages(images, training_transform(spec, recipe.augmentation), seed)
        return _transformed(view, split, indices, self._processes(images, spec))

    def validation(self, spec: InputSpec) -> Feed:
        """The validation split in order."""
        split = self._task.validation
        kept = self._kept("validation", split, spec)
        if kept is None:
            return self.evaluation(split, spec)
        return _from_memory(kept, split, in_order(len(kept), EVALUATION_BATCH))

    def evaluation(self, split: Split, spec: InputSpec) -> Feed:
        """Any images in order, transformed as for validation, nothing kept."""
        view = TransformedImages(split.images, evaluation_transform(spec), None)
        indices = in_order(len(view), EVALUATION_BATCH)
        return _transformed(view, split, indices, self._processes(split.images, spec))

    def _kept(self, name: str, split: Split, spec: InputSpec) -> Tensor | None:
        """The split's pixels (n, 3, S, S), from memory if possible; None where they do not fit."""
        key = (name, spec)
        if key not in self._pixels:
            self._make_room(len(split.images) * 3 * spec.size**2)
            view = TransformedImages(split.images, evaluation_transform(spec), None)
            self._pixels[key] = in_memory(
                view, spec.size, KEPT_BYTES, workers=self._processes(split.images, spec)
            )
        return self._pixels[key]

    def _make_room(self, needed: int) -> None:
        """Forget pixels, oldest first, until `needed` bytes more stay within the limit."""
        sizes = {key: 0 if kept is None else kept.nbytes for key, kept in self._pixels.items()}
        while self._pixels and sum(sizes[key] for key in self._pixels) + needed > KEPT_BYTES:
            del self._pixels[next(iter(self._pixels))]

    def _reduced_training(self, spec: InputSpec) -> Images:
        """Training images, large enough that the smallest random crop is hardly ever enlarged."""
        side = round(1.6 * spec.size)
        if self._reduced is None or self._reduced[0] != side:
            self._reduced = (side, shrunk(self._task.train.images, side, limit_bytes=KEPT_BYTES))
        return self._reduced[1]

    def _processes(self, images: Images, spec: InputSpec) -> int:
        if self._workers is not None:
            return self._workers
        threads = torch.get_num_threads()
        at_hand = isinstance(images, ArrayImages | KeptImages) and spec.size <= _SMALL
        return 0 if at_hand or threads == 1 else min(_MOST_WORKERS, threads)


def _from_memory(kept: Tensor, split: Split, indices: list[list[int]]) -> Feed:
    labels = torch.from_numpy(split.labels)
    return Feed(len(indices), (Batch(kept[batch], labels[batch]) for batch in indices))


def _transformed(view: TransformedImages, split: Split, indices: list[list[int]], workers: int) -> Feed:
    labels = torch.from_numpy(split.labels)
    pixels = pixels_of(view, indices, workers)
    return Feed(len(indices), (Batch(p, labels[batch]) for p, batch in zip(pixels, indices, strict=True)))
