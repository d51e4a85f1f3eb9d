"""Where the held-out images of a self-tuning run come from: a share of the training split.

The validation split, which chooses between runs, is never tuned on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from fms_hub.errors import TaskError
from fms_hub.finetune.batches import Batch
from fms_hub.finetune.gallery import Feed, Gallery
from fms_hub.finetune.recipe import Recipe
from fms_hub.models.model import InputSpec
from fms_hub.seeding import derived_seed
from fms_hub.tasks.splits import CUT_FRACTION, stratified_cut
from fms_hub.tasks.task import Task

FEWEST_IMAGES = 16
"""To tune on; with fewer the loss says more of the draw than of the hyperparameters."""


class TuningFeeds:
    """Feeds the two parts of a task's training split: 80 % of every class to train on, 20 % to tune on.

    Args:
        task: whose training split is cut, with the seed.
        workers: see `Gallery`.
        seed: of the cut.

    Raises:
        TaskError: fewer than `FEWEST_IMAGES` would be tuned on, or a class has but one image to share.
    """

    def __init__(self, task: Task, workers: int | None = None, *, seed: int = 0) -> None:
        labels = task.train.labels
        kept, cut = stratified_cut(labels, np.random.default_rng(seed))
        alone = int((np.bincount(labels) == 1).sum())
        if len(cut) < FEWEST_IMAGES or alone:
            needed = round(FEWEST_IMAGES / CUT_FRACTION)
            raise TaskError(
                f"self-tuning cuts {CUT_FRACTION:.0%} of every class off the training images and needs at "
                f"least {FEWEST_IMAGES} to tune on, and two of every class; found {len(labels)} training "
                f"images, {len(cut)} of them to tune on, and {alone} classes of a single one. Add images "
                f"(about {needed} suffice), or set self_tuning=False."
            )
        self._training = Gallery(dataclasses.replace(task, train=task.train.take(kept)), workers)
        self._tuning = Gallery(dataclasses.replace(task, train=task.train.take(cut)), workers)

    def training(self, spec: InputSpec, recipe: Recipe, seed: int) -> Feed:
        """One pass over what is trained on, as `Gallery.training`."""
        return self._training.training(spec, recipe, seed)

    def tuning(self, spec: InputSpec, recipe: Recipe, seed: int) -> Iterator[Batch]:
        """Batches to tune on without end, prepared as for validation, each pass in another order."""
        plain = dataclasses.replace(recipe, augmentation=0.0)
        turn = 0
        while True:
            yield from self._tuning.training(spec, plain, derived_seed(seed, "tuning", turn)).batches
            turn += 1
