"""Read packs: the tasks of the sweeps in one file, small images compressed in sheets, and the sweep's plan.

A pack is an ``.npz`` without pickles. For each task and split, ``TASK/SPLIT/sheet`` holds one WebP file with
`COLUMNS` images a row, each padded to a multiple of `BLOCK` pixels, and ``TASK/SPLIT/labels`` their labels.
``meta`` and ``plan`` are JSON. The images are not quite those of the datasets any more: a task of a pack is
called ``NAME@DIGEST``, so that its runs are never taken for runs on the datasets.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.splits import SPLITS, SplitName
from fms_hub.tasks.task import Task, task_from_arrays
from training.corpus.plan import PlannedRun
from training.data import Provenance

VERSION = 1
COLUMNS = 32
BLOCK = 16
"""Sheets are cut at multiples of this, which no block of the compression crosses."""
KINDS = ("sheet", "labels")
DIGITS = 8
"""Hexadecimal digits of the digest in a task's name."""


@dataclass(frozen=True)
class Pack:
    """An opened pack.

    Attributes:
        path: of the file.
        meta: ``tasks`` by name (classes, side, mode, provenance), ``hubs`` (their tasks), how it was made.
        arrays: sheets and labels, by name.
        planned: hyperparameters, horizon and so on of each run of the timm-tiny hub, in order.
    """

    path: Path
    meta: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]
    planned: list[dict[str, Any]]

    @cached_property
    def digest(self) -> str:
        """First digits of the sha256 over images, labels and what is said of them."""
        return digest(self.meta["tasks"], self.arrays)

    def name(self, task: str) -> str:
        """What a task is called when it comes from this pack.

        Raises:
            TaskError: it is not in the pack.
        """
        if task not in self.meta["tasks"]:
            raise TaskError(f"{self.path} has no task {task!r}; it has {', '.join(self.meta['tasks'])}.")
        return f"{task}@{self.digest}"

    def plan(self) -> list[PlannedRun]:
        """The sweep of the timm-tiny hub, on the tasks of this pack."""
        return [PlannedRun(**run | {"task": self.name(run["task"])}) for run in self.planned]

    def task(self, name: str) -> Task:
        """A task by its name, ``NAME@DIGEST``.

        Raises:
            TaskError: it is not in the pack, or of another one.
        """
        task = self._known(name)
        entry = self.meta["tasks"][task]
        parts = {split: self._split(task, split, entry) for split in SPLITS}
        return task_from_arrays(task.replace(":", "-"), entry["classes"], **parts, seed=entry["seed"])

    def provenance(self, name: str) -> Provenance:
        """Where a task's images come from; it names the pack.

        Raises:
            TaskError: as `task`.
        """
        entry = self.meta["tasks"][self._known(name)]
        return Provenance(f"pack {self.digest} of {entry['repo']}", entry["commit"], entry["licence"])

    def _known(self, name: str) -> str:
        task, _, of = name.partition("@")
        if self.name(task) != name:
            raise TaskError(
                f"{name!r} is not from {self.path}, whose tasks end in @{self.digest}; found @{of}."
            )
        return task

    def _split(
        self, task: str, split: SplitName, entry: Mapping[str, Any]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        labels = self.arrays[f"{task}/{split}/labels"].astype(np.int64)
        file = io.BytesIO(self.arrays[f"{task}/{split}/sheet"].tobytes())
        with Image.open(file) as sheet:
            pixels = np.asarray(sheet.convert(entry["mode"]))
        return cut(pixels, entry["side"], len(labels)), labels


def read_pack(path: Path) -> Pack:
    """Open a pack.

    Raises:
        TaskError: the file is no pack, damaged, or of another version.
    """
    return _read(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read(path: Path, _changed: int) -> Pack:
    try:
        with path.open("rb") as file, np.load(file) as content:
            arrays = {name: content[name] for name in content.files}
        meta = json.loads(str(arrays.pop("meta")))
        planned = json.loads(arrays.pop("plan").tobytes())
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise TaskError(f"{path} is no pack that can be read: {error}. Make it again.") from error
    if meta["version"] != VERSION:
        raise TaskError(f"{path} is a pack of version {meta['version']}, expected {VERSION}. Make it again.")
    needed = {f"{task}/{split}/{kind}" for task in meta["tasks"] for split in SPLITS for kind in KINDS}
    if needed != set(arrays):
        raise TaskError(f"{path} lacks {sorted(needed - set(arrays))[:2]} of its tasks. Make it again.")
    return Pack(path, meta, arrays, planned)


def digest(tasks: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    """First digits of the sha256 over a pack's content, its plan apart."""
    total = hashlib.sha256(json.dumps(tasks, sort_keys=True).encode())
    for name in sorted(arrays):
        total.update(f"{name} {arrays[name].dtype.str}".encode() + arrays[name].tobytes())
    return total.hexdigest()[:DIGITS]


def sheet(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay square images (n, s, s) or (n, s, s, 3) out in rows of `COLUMNS`, each padded to `BLOCK`."""
    side, tile = images.shape[1], _tile(images.shape[1])
    rows = -(-len(images) // COLUMNS)
    edge = (0, tile - side)
    channels = [(0, 0)] * (images.ndim - 3)
    padded = np.pad(images, [(0, rows * COLUMNS - len(images)), edge, edge, *channels], mode="edge")
    grid = padded.reshape(rows, COLUMNS, tile, tile, *images.shape[3:])
    return np.moveaxis(grid, 2, 1).reshape(rows * tile, COLUMNS * tile, *images.shape[3:])


def cut(pixels: NDArray[np.uint8], side: int, count: int) -> NDArray[np.uint8]:
    """The first images of a sheet; undoes `sheet`."""
    tile = _tile(side)
    rows = len(pixels) // tile
    grid = pixels.reshape(rows, tile, COLUMNS, tile, *pixels.shape[2:])
    images = np.moveaxis(grid, 2, 1).reshape(rows * COLUMNS, tile, tile, *pixels.shape[2:])
    return images[:count, :side, :side].copy()


def _tile(side: int) -> int:
    return -(-side // BLOCK) * BLOCK
