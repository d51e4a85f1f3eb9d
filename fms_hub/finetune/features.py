"""Features of a candidate that is not fine-tuned: what its head is given, for probes of a task.

n = images, d = features, z = classes of the candidate's own head.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fms_hub.errors import CandidateError, UsageError
from fms_hub.finetune.epoch import Stage, probabilities
from fms_hub.finetune.gallery import Gallery
from fms_hub.models import original
from fms_hub.models.model import Model, dry_run
from fms_hub.models.zoo import build, heads
from fms_hub.records import Candidate
from fms_hub.tasks.splits import stratified_subset
from fms_hub.tasks.task import Split, Task

SAMPLE = 512
"""Images of a sample, unless it is to be of another size."""


@dataclass(frozen=True)
class Features:
    """What a network makes of n images.

    Attributes:
        values: (n, d), what the head is given, float32; several heads' inputs stand side by side.
        labels: (n,).
        source_probabilities: (n, z) of the checkpoint's own head; None where it has none, and of a user's own
            module, of whose head nobody knows whether it was trained.
    """

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    source_probabilities: NDArray[np.float32] | None

    def take(self, rows: NDArray[np.int64]) -> Features:
        """The given images."""
        source = self.source_probabilities
        return Features(self.values[rows], self.labels[rows], None if source is None else source[rows])


class FeatureReader:
    """Reads the features of one candidate.

    A checkpoint is opened under its own head where it has one; others get a fresh one that nobody looks at.

    Args:
        candidate: any; of a user's own module the last linear layer is the head.
        classes: of the task.
        image_size: pixels; None means the candidate's own.
        device: where the network runs.

    Raises:
        CandidateError: the weights cannot be used, the architecture refuses the image size, or the network
            never calls its head.
        HubError: the weights could not be fetched.
    """

    def __init__(
        self,
        candidate: Candidate,
        classes: int,
        *,
        image_size: int | None = None,
        device: torch.device | None = None,
    ) -> None:
        own = original.has_head(candidate)
        if own:
            original.require_unchanged(candidate)
        model = (
            original.load(candidate, image_size)
            if own
            else build(candidate, classes=classes, image_size=image_size, seed=0)
        )
        self._heads = heads(model, candidate)
        self._name = candidate.name
        outputs = self._dry_run(model)
        self._has_source = own and outputs > 1
        self._stage = Stage(model.input, device or torch.device("cpu"), torch.contiguous_format)
        self._module = model.module.to(self._stage.device)

    def read(self, split: Split, gallery: Gallery) -> Features:
        """The features of all images of a split, in order.

        Args:
            split: of the gallery's task, or images of it.
            gallery: prepares the images.
        """
        with _inputs_of(self._heads) as inputs:
            likely = probabilities(self._module, gallery.evaluation(split, self._stage.spec), self._stage)
        return Features(self._joined(inputs, len(likely)), split.labels, likely if self._has_source else None)

    def _dry_run(self, model: Model) -> int:
        """Classes of the network's own head; 0 if it is a stand-in without weights."""
        with _inputs_of(self._heads) as inputs:
            answer = dry_run(model.module, self._name, model.input.size)
        self._joined(inputs, 1)
        weighty = any(True for head in self._heads for _ in head.parameters())
        return answer.shape[1] if weighty and isinstance(answer, Tensor) and answer.ndim == 2 else 0

    def _joined(self, inputs: list[list[Tensor]], images: int) -> NDArray[np.float32]:
        blocks = [torch.cat(seen).float().flatten(1) if seen else torch.empty(0, 0) for seen in inputs]
        if any(len(block) != images for block in blocks):
            raise CandidateError(
                f"{self._name} must call its head once for each batch of images; found "
                f"{[len(block) for block in blocks]} rows of features for {images} images. "
                "Call the last linear layer as a module, with one row for each image."
            )
        joined: NDArray[np.float32] = torch.cat(blocks, dim=1).numpy()
        return joined


def sample(task: Task, images: int = SAMPLE, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of training images, ascending: stratified, at least two of each class that has them.

    Args:
        task: whose training split.
        images: most images, >= 1; classes of which there are more than half as many raise it.
        seed: of the choice.

    Raises:
        UsageError: `images` is below 1.
    """
    if images < 1:
        raise UsageError(f"a sample needs at least 1 image, found {images}.")
    labels = task.train.labels
    return stratified_subset(labels, max(images, 2 * len(task.info.classes)), np.random.default_rng(seed))


def sample_features(
    candidate: Candidate,
    task: Task,
    *,
    images: int = SAMPLE,
    image_size: int | None = None,
    seed: int = 0,
    device: torch.device | None = None,
) -> Features:
    """The features of a candidate on a sample of a task's training images.

    Args:
        candidate, image_size, device: see `FeatureReader`.
        task: the images.
        images, seed: see `sample`.

    Raises:
        CandidateError, HubError: as `FeatureReader`.
        UsageError: `images` is below 1.
    """
    rows = sample(task, images, seed=seed)
    reader = FeatureReader(candidate, len(task.info.classes), image_size=image_size, device=device)
    return reader.read(task.train.take(rows), Gallery(task))


@contextmanager
def _inputs_of(modules: tuple[nn.Module, ...]) -> Iterator[list[list[Tensor]]]:
    """Collect what each of the modules is given meanwhile, batch by batch, on the CPU."""
    seen: list[list[Tensor]] = [[] for _ in modules]

    def keep(place: list[Tensor], inputs: tuple[Tensor, ...]) -> None:
        place.append(inputs[0].detach().to("cpu", copy=True))

    handles = [
        module.register_forward_pre_hook(lambda _, inputs, place=place: keep(place, inputs))
        for module, place in zip(modules, seen, strict=True)
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
