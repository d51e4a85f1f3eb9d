"""Read the image datasets of the corpus, one ``.npz`` each, into Tasks.

The array ``meta`` is JSON with ``repo``, ``commit``, ``licence`` and ``format``, one of two layouts:

- ``raw``: ``x_train``, ``x_test`` uint8 (n, h, w) or (n, h, w, 3); ``y_train``, ``y_test``;
- ``packed``: image files of one size end to end in ``train_buf``, file i from ``train_off[i]`` to
  ``train_off[i + 1]``; ``y_train``; the same for ``test``; ``meta`` has the ``image_mode``, ``"L"`` or
  ``"RGB"``.

Both have ``class_names``. A raw dataset may have ``x_val`` and ``y_val``; a packed one of several domains has
``dom_train`` and ``dom_test``, indices into `DOMAINS`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import TaskError
from fms_hub.tasks.decode import decode
from fms_hub.tasks.splits import stratified_subset
from fms_hub.tasks.task import Task, task_from_arrays
from fms_hub.tasks.threads import in_order

DOMAINS = ("art", "cartoon", "photo", "sketch")
"""The domains of PACS, index = number in ``dom_train`` and ``dom_test``."""


@dataclass(frozen=True)
class Provenance:
    """Where a dataset comes from.

    Attributes:
        repo: address of the repository it was taken from.
        commit: the commit of that repository.
        licence: what is known of its licence, in words.
    """

    repo: str
    commit: str
    licence: str


@dataclass(frozen=True)
class _Labelled:
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def read_provenance(path: Path) -> Provenance:
    """Read where a dataset comes from.

    Raises:
        TaskError: the file is missing, damaged or of another layout.
    """
    with _opened(path) as arrays:
        meta = _meta(path, arrays)
        return Provenance(meta["repo"], meta["commit"], meta["licence"])


def read_npz(path: Path, *, domain: str | None = None, limit: int | None = None, seed: int = 0) -> Task:
    """Read a dataset into a Task; a missing validation split is cut from train.

    Args:
        path: the file.
        domain: one of `DOMAINS`, for a dataset that has them; None takes all together.
        limit: most training images, validation included where it is cut from them; a stratified subset.
        seed: of the subset and the cut.

    Raises:
        TaskError: the file is missing, damaged or of another layout; a domain it does not have; a limit below
            two images of every class.
    """
    with _opened(path) as arrays:
        meta = _meta(path, arrays)
        classes = tuple(str(name) for name in arrays["class_names"])
        train = _rows(arrays, "train", domain)
        if limit is not None:
            train = train[stratified_subset(arrays["y_train"][train], limit, np.random.default_rng(seed))]
        parts = {"train": _read(arrays, meta, "train", train)}
        parts["test"] = _read(arrays, meta, "test", _rows(arrays, "test", domain))
        if "y_val" in arrays:
            parts["validation"] = _read(arrays, meta, "val", np.arange(len(arrays["y_val"])))
    pairs = {split: (part.pixels, part.labels) for split, part in parts.items()}
    name = path.stem if domain is None else f"{path.stem}-{domain}"
    return task_from_arrays(
        name, classes, train=pairs["train"], validation=pairs.get("validation"), test=pairs["test"], seed=seed
    )


@contextmanager
def _opened(path: Path) -> Iterator[Mapping[str, NDArray[Any]]]:
    try:
        with np.load(path) as arrays:
            yield arrays
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if isinstance(error, TaskError):
            raise
        raise TaskError(f"{path} is no dataset that can be read here: {error}.") from error


def _meta(path: Path, arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads(str(arrays["meta"]))
    if meta["format"] not in ("raw", "packed"):
        raise TaskError(f"{path} must have the format 'raw' or 'packed', found {meta['format']!r}.")
    return meta


def _rows(arrays: Mapping[str, NDArray[Any]], split: str, domain: str | None) -> NDArray[np.int64]:
    if domain is None:
        return np.arange(len(arrays[f"y_{split}"]))
    if f"dom_{split}" not in arrays:
        raise TaskError(f"this dataset has no domains; found domain={domain!r}. Leave it out.")
    if domain not in DOMAINS:
        raise TaskError(f"domain must be one of {', '.join(DOMAINS)}; found {domain!r}.")
    return np.flatnonzero(arrays[f"dom_{split}"] == DOMAINS.index(domain))


def _read(
    arrays: Mapping[str, NDArray[Any]], meta: Mapping[str, Any], split: str, rows: NDArray[np.int64]
) -> _Labelled:
    labels = arrays[f"y_{split}"][rows].astype(np.int64)
    if meta["format"] == "raw":
        return _Labelled(arrays[f"x_{split}"][rows], labels)
    buffer, offsets = arrays[f"{split}_buf"], arrays[f"{split}_off"]

    def pixels(i: int) -> NDArray[np.uint8]:
        rgb = np.asarray(decode(buffer[offsets[rows[i]] : offsets[rows[i] + 1]].tobytes()))
        return rgb[..., 0] if meta["image_mode"] == "L" else rgb

    return _Labelled(np.stack(list(in_order(pixels, len(rows)))), labels)
