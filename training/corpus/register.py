"""Puts a sweep's tasks and candidates into the tables beside its shards, each when it is first used."""

from __future__ import annotations

from pathlib import Path

from timm.models import model_entrypoint

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.corpus.tables import add_rows
from fms_hub.models import bundle
from fms_hub.models.zoo import build
from fms_hub.tasks.task import Task
from training.corpus.candidates import SOURCES_ROOT, resolve, timm_tiny
from training.corpus.splits import read_splits
from training.corpus.tasks import dataset, limit, provenance

SMALL_CNN = CandidateRow(
    "small-cnn", "SmallCNN", "small_net", "random", 0, None, None, "Apache-2.0 (no data)", False
)
"""The network of the small-cnn hub, trained from scratch."""


class Register:
    """The tables of one folder, as far as this process has filled them.

    Args:
        folder: of the shards.
        hub: that the tasks belong to.
    """

    def __init__(self, folder: Path, hub: str) -> None:
        self._folder = folder
        self._hub = hub
        self._known: set[str] = set()

    def task(
        self, name: str, task: Task, data: Path, *, images: int | None, image_size: int | None, metric: str
    ) -> None:
        """Add a task, once.

        Args:
            name: of the task, ``DATASET`` or ``DATASET:DOMAIN``.
            task: its images, split as runs see them.
            data: folder of the dataset files.
            images, image_size, metric: see `TaskRow`.

        Raises:
            Fault: the table has the task with other settings or other images.
        """
        if name in self._known:
            return
        origin = provenance(data, name)
        row = TaskRow(
            hub=self._hub,
            name=name,
            group=read_splits().group.get(dataset(name), dataset(name)),
            classes=len(task.info.classes),
            images=limit(data, images),
            train=len(task.train.labels),
            validation=len(task.validation.labels),
            test=len(task.test.labels),
            image_size=image_size,
            metric=metric,
            fingerprint=task.info.fingerprint,
            features=dict(task.info.features),
            licence=origin.licence,
            source=f"{origin.repo} at {origin.commit[:12]}",
        )
        add_rows(self._folder, TaskRow, [row])
        self._known.add(name)

    def candidate(self, name: str) -> None:
        """Add a candidate, once.

        Raises:
            Fault: the table has another candidate of this name.
        """
        if name not in self._known:
            row = SMALL_CNN if name == SMALL_CNN.name else candidate_row(name)
            add_rows(self._folder, CandidateRow, [row])
            self._known.add(name)


def candidate_row(name: str) -> CandidateRow:
    """Describe a candidate by the index of its checkpoints, if it stands in one, and by its architecture."""
    candidate = resolve(name)
    entry = bundle.entries(bundle.ROOT, SOURCES_ROOT).get(name)
    source = timm_tiny().get(name) or ("random" if candidate.source == "scratch" else "unknown")
    family = str(model_entrypoint(candidate.architecture).__module__).rpartition(".")[2]
    if entry is None:
        free = candidate.source == "scratch"
        module = build(candidate, classes=2, weights=False).module
        count = sum(parameter.numel() for parameter in module.parameters())
        licence = "Apache-2.0 (no data)" if free else "unknown"
        return CandidateRow(
            name, candidate.architecture, family, source, 0 if free else None, None, count, licence, not free
        )
    return CandidateRow(
        name=name,
        architecture=entry.architecture,
        family=family,
        source=source if entry.epochs else "random",
        epochs=entry.epochs,
        accuracy=entry.accuracy if entry.epochs else None,
        parameters=entry.parameters,
        licence=entry.licence,
        research_only="research" in entry.licence.lower(),
    )
