"""Images that a user hands over to be classified, whatever form they have."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.decode import decode, to_rgb
from fms_hub.tasks.images import Images

Picture = Image.Image | NDArray[np.uint8] | str | os.PathLike[str]


@dataclass(frozen=True)
class _Pictures:
    items: tuple[Picture, ...]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Image.Image:
        item = self.items[i]
        if isinstance(item, Image.Image):
            return _shown(i, item)
        if isinstance(item, np.ndarray):
            return Image.fromarray(item).convert("RGB")
        return _read(Path(item))


def as_images(pictures: Sequence[Picture] | Images) -> Images:
    """PIL images, uint8 arrays (h, w) or (h, w, 3), or paths of image files, decoded on every visit.

    Raises:
        TaskError: there is none, or one is of another type; it says which.
    """
    if isinstance(pictures, (str, os.PathLike, Image.Image)):
        raise TaskError(
            f"expected a sequence of images, found one {type(pictures).__name__}; put it in a list."
        )
    items = tuple(pictures[i] for i in range(len(pictures)))
    if not items:
        raise TaskError("expected at least one image, found none.")
    for i, item in enumerate(items):
        if not isinstance(item, (Image.Image, str, os.PathLike)) and not _is_pixels(item):
            raise TaskError(
                f"image {i}: expected a PIL image, a uint8 array (h, w) or (h, w, 3), or a path, "
                f"found {_describe(item)}."
            )
    return _Pictures(items)


def _is_pixels(item: object) -> bool:
    return (
        isinstance(item, np.ndarray)
        and item.dtype == np.uint8
        and (item.ndim == 2 or (item.ndim == 3 and item.shape[2] == 3))
    )


def _describe(item: object) -> str:
    if isinstance(item, np.ndarray):
        return f"an array of {item.dtype} and shape {item.shape}"
    return type(item).__name__


def _shown(i: int, image: Image.Image) -> Image.Image:
    try:
        return to_rgb(image)
    except TaskError as error:
        raise TaskError(f"image {i} {error}.") from error


def _read(path: Path) -> Image.Image:
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise TaskError(f"{path} cannot be read: {error.strerror or error}.") from error
    except TaskError as error:
        raise TaskError(f"{path} {error}.") from error
