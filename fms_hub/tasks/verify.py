"""One pass over all images before anything expensive: each is decoded in full, hashed and measured."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import TaskError
from fms_hub.tasks.decode import decode
from fms_hub.tasks.images import EncodedImages
from fms_hub.tasks.splits import SplitName
from fms_hub.tasks.task import Portion
from fms_hub.tasks.threads import in_order

Progress = Callable[[int, int], None]
"""Called with the number of images verified so far and the number of all images."""

_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """One split as the user gave it, not verified yet.

    Attributes:
        images: n images.
        labels: class indices, shape (n,).
    """

    images: EncodedImages
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class FoundTask:
    """A dataset as the user gave it, not verified yet.

    Attributes:
        name: what the user calls it.
        classes: class names, index = label.
        splits: the splits that exist, ``train`` among them.
    """

    name: str
    classes: tuple[str, ...]
    splits: Mapping[SplitName, Found]


@dataclass(frozen=True)
class _Checked:
    digest: str
    size: tuple[int, int]
    problem: str | None


def verify(
    splits: Mapping[SplitName, Found], *, skip_bad: bool = False, progress: Progress | None = None
) -> dict[SplitName, Portion]:
    """Decode every image once.

    Args:
        splits: what to verify.
        skip_bad: leave damaged images out, with a warning that lists them, instead of raising.
        progress: told after every image.

    Raises:
        TaskError: images are damaged or unreadable and `skip_bad` is false.
    """
    total, done = sum(len(found.labels) for found in splits.values()), 0
    checked: dict[SplitName, list[_Checked]] = {}
    for split, found in splits.items():
        checked[split] = []
        with closing(in_order(partial(_check, found.images), len(found.labels))) as results:
            for result in results:
                checked[split].append(result)
                done += 1
                if progress is not None:
                    progress(done, total)
    _report([row.problem for rows in checked.values() for row in rows if row.problem], total, skip_bad)
    return {split: _sound(found, checked[split]) for split, found in splits.items()}


def _check(images: EncodedImages, i: int) -> _Checked:
    try:
        data = images.read(i)
        size = decode(data).size
    except TaskError as error:
        return _Checked("", (0, 0), f"{images.name(i)} {error}")
    return _Checked(hashlib.sha256(data).hexdigest(), size, None)


def _report(problems: list[str], total: int, skip_bad: bool) -> None:
    if not problems:
        return
    if skip_bad:
        warnings.warn(f"skipped {len(problems)} of {total} images: {'; '.join(problems)}.", stacklevel=4)
        return
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise TaskError(
        f"{len(problems)} of {total} images cannot be used: {'; '.join(problems[:_SHOWN])}"
        f"{more}. Repair or remove them, or leave them out with "
        "skip_bad=True (--skip-bad)."
    )


def _sound(found: Found, rows: list[_Checked]) -> Portion:
    sound = np.array([i for i, row in enumerate(rows) if row.problem is None], dtype=np.int64)
    return Portion(
        found.images.take(sound),
        found.labels[sound],
        tuple(rows[i].digest for i in sound),
        np.array([rows[i].size for i in sound], dtype=np.int64).reshape(-1, 2),
    )
