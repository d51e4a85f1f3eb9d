"""From whatever the user has to a Task: the one entrance for datasets."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fms_hub.errors import TaskError
from fms_hub.tasks.folder import read_folder
from fms_hub.tasks.splits import check_classes
from fms_hub.tasks.task import Task, build_task, task_from_arrays
from fms_hub.tasks.verify import FoundTask, Progress, verify

if TYPE_CHECKING:
    import datasets

_HUB_ID = re.compile(r"(?P<id>[\w-][\w.-]*(/[\w.-]+)?)(@(?P<revision>[^\s@]+))?")


def load_task(
    dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict | Task,
    *,
    image_column: str | None = None,
    label_column: str | None = None,
    revision: str | None = None,
    seed: int = 0,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> Task:
    """Turn a dataset into a Task, every image verified.

    Args:
        dataset: one of

            - a folder of class folders, or of train, val(id|idation) and test folders holding those;
            - a `datasets.Dataset` or `DatasetDict`;
            - a Hub dataset id, ``org/name`` or ``org/name@revision``; an existing path of that name wins;
            - ``"digits"``, scikit-learn's 1,797 scans of digits (a folder of that name: ``"./digits"``);
            - a Task, which comes back as it is.

        image_column: the column of images in a table; found by type, then by name, if None.
        label_column: the column of classes in a table; found by type, then by name, if None.
        revision: branch, tag or commit of a Hub dataset.
        seed: of the cuts of missing splits (stratified, 20 % of each class in train) and of the sample of
            images that the meta-features look at.
        skip_bad: leave damaged images out with a warning that lists them, instead of raising.
        progress: called with (images verified, images in all), in the calling thread.

    Raises:
        TaskError: the dataset cannot become a task; the message names what is wrong.
        HubError: the Hub cannot be reached.
    """
    if isinstance(dataset, Task):
        _refuse("a Task", image_column=image_column, label_column=label_column, revision=revision)
        return dataset
    if isinstance(dataset, str) and dataset == "digits":
        _refuse('"digits"', image_column=image_column, label_column=label_column, revision=revision)
        return digits(seed=seed)
    found = _find(dataset, image_column, label_column, revision)
    check_classes(found.classes, {split: part.labels for split, part in found.splits.items()})
    portions = verify(found.splits, skip_bad=skip_bad, progress=progress)
    return build_task(found.name, found.classes, portions, seed=seed)


def digits(*, seed: int = 0) -> Task:
    """Give scikit-learn's 1,797 scans of handwritten digits, 8 x 8 gray, as a Task."""
    from sklearn.datasets import load_digits  # 2 s to import

    scans, labels = load_digits(return_X_y=True)
    pixels = np.rint(scans.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    names = [str(digit) for digit in range(10)]
    return task_from_arrays("digits", names, train=(pixels, labels), seed=seed)


def _find(
    dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict,
    image_column: str | None,
    label_column: str | None,
    revision: str | None,
) -> FoundTask:
    if not isinstance(dataset, str | os.PathLike):
        from fms_hub.tasks import tables  # imports `datasets`, which folders and arrays do without

        _refuse("a dataset in memory", revision=revision)
        return tables.read_table(dataset, image_column=image_column, label_column=label_column)
    if dataset == "":  # which a Path would read as the current folder
        raise TaskError('expected a dataset, found an empty text. The current folder is ".".')
    path = _expanded(dataset)
    hub_id = _HUB_ID.fullmatch(dataset) if isinstance(dataset, str) else None
    if path.exists() or hub_id is None:
        _refuse("a folder", image_column=image_column, label_column=label_column, revision=revision)
        return _from_folder(path)
    return _from_hub(hub_id["id"], _one_revision(hub_id["revision"], revision), image_column, label_column)


def _from_hub(
    repository: str, revision: str | None, image_column: str | None, label_column: str | None
) -> FoundTask:
    from fms_hub.tasks import tables

    fetched = tables.fetch(repository, revision)
    found = tables.read_table(fetched, image_column=image_column, label_column=label_column)
    return replace(found, name=repository)


def _from_folder(path: Path) -> FoundTask:
    if not path.is_dir():
        what = "is a file" if path.exists() else "does not exist"
        raise TaskError(
            f"expected a folder of class folders, but {path} {what}. Correct the path; a Hub dataset id "
            "reads like org/name or org/name@revision."
        )
    return read_folder(path)


def _expanded(path: str | os.PathLike[str]) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # ~somebody who is unknown here
        return Path(path)


def _one_revision(written: str | None, asked: str | None) -> str | None:
    if written is not None and asked is not None and written != asked:
        raise TaskError(f"two revisions were given: @{written} and revision={asked!r}. Give one.")
    return written if asked is None else asked


def _refuse(what: str, **options: str | None) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TaskError(f"{' and '.join(given)} cannot be used with {what}. Leave them out.")
