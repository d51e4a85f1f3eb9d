"""Train what is planned, one epoch at a time, and add it to the bundle."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fms_hub.finetune.epoch import Stage, probabilities
from fms_hub.finetune.gallery import Gallery
from fms_hub.finetune.scores import accuracy
from fms_hub.finetune.trainer import Trainer
from fms_hub.models import bundle
from fms_hub.models.bundle import BundledCheckpoint
from fms_hub.models.folder import WEIGHTS, sha256
from fms_hub.models.model import Model
from fms_hub.models.zoo import build, export
from fms_hub.tasks.task import Task
from training.data import Provenance, read_npz, read_provenance
from training.pretrain.plan import IMAGE_SIZE, SEED, Pretraining

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Places:
    """Folders: the datasets, and the bundle. Unfinished runs lie in ``runs`` below the bundle.

    Attributes:
        data: holds the ``.npz`` files.
        bundle: checkpoints are written here, beside their index.
        plan: name of the plan, which the checkpoints' names begin with.
    """

    data: Path
    bundle: Path
    plan: str = "bundled"

    def name(self, pretraining: Pretraining) -> str:
        """The candidate's name."""
        return f"{self.plan}/{pretraining.name}"

    def dataset(self, pretraining: Pretraining) -> Path:
        """The file of its images."""
        return self.data / f"{pretraining.data}.npz"

    def run(self, pretraining: Pretraining) -> Path:
        """Where its epochs are kept until it is finished."""
        return self.bundle / "runs" / pretraining.name


def is_bundled(pretraining: Pretraining, places: Places) -> bool:
    """Whether the bundle lists it already."""
    return places.name(pretraining) in bundle.entries(places.bundle)


def pretrain(
    pretraining: Pretraining, places: Places, time_is_up: Callable[[], bool]
) -> BundledCheckpoint | None:
    """Train, export and list one checkpoint; None if time was up first, then the next call goes on.

    Args:
        pretraining: what to train.
        places: where data are read and checkpoints written.
        time_is_up: asked before every epoch.
    """
    task = read_npz(places.dataset(pretraining), limit=pretraining.images, seed=SEED)
    model = _trained(pretraining, task, places.run(pretraining), time_is_up)
    if model is None:
        return None
    _round_to_half(model.module)
    target = places.bundle / pretraining.name
    export(model, pretraining.candidate, task.info.classes, target, half=True)
    entry = _describe(pretraining, model, task, places, read_provenance(places.dataset(pretraining)))
    bundle.write_index((bundle.entries(places.bundle) | {entry.name: entry}).values(), places.bundle)
    shutil.rmtree(places.run(pretraining), ignore_errors=True)
    return entry


def _trained(
    pretraining: Pretraining, task: Task, folder: Path, time_is_up: Callable[[], bool]
) -> Model | None:
    """The network after all its epochs, going on from the last one in `folder`; None if time is up."""
    candidate, hyperparameters = pretraining.candidate, pretraining.hyperparameters
    if not pretraining.epochs:
        return build(candidate, classes=len(task.info.classes), image_size=IMAGE_SIZE, seed=SEED)
    trainer = Trainer(task, image_size=IMAGE_SIZE, device="cpu", seed=SEED)
    for epoch in range(1, pretraining.epochs + 1):
        target = folder / f"epoch{epoch}"
        if target.exists():
            continue
        if time_is_up():
            return None
        result = trainer.epoch(
            candidate,
            hyperparameters,
            run=0,
            epoch=epoch,
            horizon=pretraining.epochs,
            previous=folder / f"epoch{epoch - 1}" if epoch > 1 else None,
            target=target,
        )
        _log.info(
            "%s epoch %d: loss %.3f, score %.3f, %.1f s",
            pretraining.name,
            epoch,
            result.train_loss,
            result.score,
            result.seconds,
        )
    return trainer.load(candidate, hyperparameters, folder / f"epoch{pretraining.epochs}")


def _describe(
    pretraining: Pretraining, model: Model, task: Task, places: Places, source: Provenance
) -> BundledCheckpoint:
    trained = pretraining.epochs > 0
    images = f"{task.info.sizes['train']} images of {pretraining.data}"
    return BundledCheckpoint(
        name=places.name(pretraining),
        architecture=pretraining.architecture,
        model_args={},
        file=f"{pretraining.name}/{WEIGHTS}",
        sha256=sha256(places.bundle / pretraining.name / WEIGHTS),
        data=f"{images}, {source.repo} at {source.commit[:12]}" if trained else "none",
        licence=source.licence if trained else "Apache-2.0 (no data)",
        classes=len(task.info.classes),
        image_size=IMAGE_SIZE,
        epochs=pretraining.epochs,
        accuracy=round(_accuracy(model, task), 4),
        seed=SEED,
        command=f"python -m training.pretrain --plan {places.plan} --data DATA --only {pretraining.name}",
        parameters=sum(p.numel() for p in model.module.parameters()),
    )


def _accuracy(model: Model, task: Task) -> float:
    """Accuracy on the test split, which nothing was chosen by."""
    stage = Stage(model.input, torch.device("cpu"), torch.contiguous_format)
    feed = Gallery(task).evaluation(task.test, model.input)
    return accuracy(task.test.labels, probabilities(model.module, feed, stage).argmax(axis=1))


def _round_to_half(module: nn.Module) -> None:
    """Round what is exported in float16, so that the accuracy is measured on what is shipped."""
    for value in module.state_dict().values():
        if value.is_floating_point() and value.ndim > 1:
            value.copy_(value.half())
