"""What a search was about, kept in its folder beside the log: numbers of its task, and its candidates.

``about.json`` is what contributing needs besides the log. It holds no class names and no images.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fms_hub.errors import CheckpointError, OutputError, StorageError

FILE_NAME: Final = "about.json"
FORMAT_VERSION: Final = 1
Source = Literal["timm", "transformers", "folder", "scratch", "module"]


@dataclass(frozen=True)
class AboutCandidate:
    """A candidate of a search.

    Attributes:
        name, source, architecture, fingerprint: as in `fms_hub.records.Candidate`.
        family: timm module that defines the architecture, None where timm itself has no such architecture.
        repo: Hub repository id, or None.
        parameters: number of parameters with the head of the task, >= 0.
        licence: of its weights, None if unknown or if it has none.
        gated: whether its authors ask for consent first, None if unknown.
    """

    name: str
    source: Source
    architecture: str
    fingerprint: str
    family: str | None
    repo: str | None
    parameters: int
    licence: str | None = None
    gated: bool | None = None


@dataclass(frozen=True)
class About:
    """A search's task and candidates.

    Attributes:
        fingerprint: sha256 over the images, labels and splits.
        classes: how many, >= 2.
        sizes: images per split, ``{"train": n, "validation": n, "test": n}``.
        features: meta-features, finite, see `fms_hub.tasks.features`.
        metric: name of the score.
        image_size: pixels, None left every candidate its own.
        device: ``"cpu"``, ``"cuda"`` ...
        candidates: of the search.
        surrogate: which one proposed, and where it was read from.
    """

    fingerprint: str
    classes: int
    sizes: Mapping[str, int]
    features: Mapping[str, float]
    metric: str
    image_size: int | None
    device: str
    candidates: tuple[AboutCandidate, ...]
    surrogate: str | None = None


def write_about(folder: Path, about: About) -> None:
    """Write the file, whole or not at all; what stands there already is replaced.

    Raises:
        StorageError: the folder cannot be written.
    """
    content = {"format_version": FORMAT_VERSION, **dataclasses.asdict(about)}
    partial = folder / f"{FILE_NAME}.partial"
    try:
        with partial.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2, sort_keys=True, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / FILE_NAME)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write {folder / FILE_NAME}: {error}. Make room and run again.") from error


def read_about(folder: Path) -> About:
    """Read what `write_about` wrote.

    Raises:
        OutputError: there is no such file in the folder.
        CheckpointError: it is damaged or of another format version.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise OutputError(
            f"{folder} has no {FILE_NAME}, which says what its search was about. Give the same command of "
            "the search once more with this release (it trains nothing anew), or name another folder."
        )
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw.pop("format_version") != FORMAT_VERSION:
            raise ValueError(f"another format version than {FORMAT_VERSION}")
        about = About(**{**raw, "candidates": tuple(AboutCandidate(**item) for item in raw["candidates"])})
        _check(about)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}). Give the search once more: it is written anew."
        ) from error
    return about


def _check(about: About) -> None:
    numbers: list[Any] = [
        about.classes,
        *about.sizes.values(),
        *(item.parameters for item in about.candidates),
    ]
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("counts that are no whole numbers")
    if not all(type(value) is float and math.isfinite(value) for value in about.features.values()):
        raise ValueError("features that are no finite numbers")
    texts: list[Any] = [about.fingerprint, about.metric, about.device, about.surrogate or ""]
    for item in about.candidates:
        texts += [item.name, item.architecture, item.fingerprint, item.family or "", item.repo or ""]
        texts.append(item.licence or "")
        if item.source not in get_args(Source):
            raise ValueError(f"the source {item.source!r}")
        if item.gated not in (True, False, None):
            raise ValueError(f"gated that is {item.gated!r}")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("names that are no text")
