"""Indexable images: arrays, encoded files, and reduced copies kept in memory."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.decode import decode, shrink
from fms_hub.tasks.threads import in_order


class Images(Protocol):
    """Images by index, always of mode RGB, of any size."""

    def __len__(self) -> int:
        """Count the images."""

    def __getitem__(self, i: int, /) -> Image.Image:
        """Give image `i`, mode RGB; IndexError past the end."""


class Source(Protocol):
    """Encoded images by index."""

    def read(self, i: int) -> bytes:
        """Give the content of image file `i`; OSError if it cannot be read."""

    def name(self, i: int) -> str:
        """Name image `i` for messages, without absolute paths where possible."""


@dataclass(frozen=True)
class Files:
    """Image files below a folder.

    Attributes:
        root: the folder.
        names: paths relative to it, with forward slashes.
    """

    root: Path
    names: tuple[str, ...]

    def read(self, i: int) -> bytes:
        """Read file `i`."""
        return (self.root / self.names[i]).read_bytes()

    def name(self, i: int) -> str:
        """Give the path of file `i` relative to the root."""
        return self.names[i]


@dataclass(frozen=True)
class EncodedImages:
    """Images that are decoded on every visit.

    Attributes:
        source: where their bytes are.
        index: their indices in the source, shape (n,).
    """

    source: Source
    index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Image.Image:
        return self.decode(i)

    def take(self, rows: NDArray[np.int64]) -> EncodedImages:
        """Select images by position."""
        return EncodedImages(self.source, self.index[rows])

    def name(self, i: int) -> str:
        """Name image `i` for messages."""
        return self.source.name(int(self.index[i]))

    def read(self, i: int) -> bytes:
        """Give the bytes of image `i`.

        Raises:
            TaskError: they cannot be read; the message does not name the image.
        """
        try:
            return self.source.read(int(self.index[i]))
        except OSError as error:
            raise TaskError(f"cannot be read ({error.strerror or error})") from error

    def decode(self, i: int, *, side: int | None = None) -> Image.Image:
        """Decode image `i`, its shorter side reduced to `side` if given.

        Raises:
            TaskError: it cannot be read or decoded, although it could when the task was made.
        """
        try:
            return decode(self.read(i), side=side)
        except TaskError as error:
            raise TaskError(f"the image {self.name(i)} {error}.") from error


@dataclass(frozen=True)
class ArrayImages:
    """Images in one array.

    Attributes:
        pixels: uint8, gray (n, h, w) or RGB (n, h, w, 3).
    """

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, i: int) -> Image.Image:
        return Image.fromarray(self.pixels[i]).convert("RGB")

    def take(self, rows: NDArray[np.int64]) -> ArrayImages:
        """Select images by position."""
        return ArrayImages(self.pixels[rows])


@dataclass(frozen=True)
class KeptImages:
    """Decoded images in memory, each of its own size.

    Attributes:
        arrays: uint8, gray (h, w) or RGB (h, w, 3) each.
    """

    arrays: tuple[NDArray[np.uint8], ...]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, i: int) -> Image.Image:
        return Image.fromarray(self.arrays[i]).convert("RGB")


@dataclass(frozen=True)
class ShrunkImages:
    """Images reduced on every visit.

    Attributes:
        images: the originals.
        side: largest shorter side, in pixels.
    """

    images: Images
    side: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Image.Image:
        if isinstance(self.images, EncodedImages):
            return self.images.decode(i, side=self.side)
        return shrink(self.images[i], self.side)


@dataclass(frozen=True)
class ChosenImages:
    """Some of the images of a kind that cannot select them itself.

    Attributes:
        images: all of them.
        rows: positions of the chosen ones, shape (n,).
    """

    images: Images
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> Image.Image:
        return self.images[int(self.rows[i])]


def taken(images: Images, rows: NDArray[np.int64]) -> Images:
    """Select images by position; nothing is decoded or copied but arrays."""
    if isinstance(images, ArrayImages | EncodedImages):
        return images.take(rows)
    return ChosenImages(images, rows)


def shrunk(images: Images, side: int, *, limit_bytes: int = 2**30) -> Images:
    """Reduce images for many visits: decoded once and kept in memory where they all fit.

    Args:
        images: the originals, n of them.
        side: the shorter side is reduced to at most this many pixels, >= 1 (antialiased, never enlarged).
        limit_bytes: most memory that the kept pixels may take; above it every visit decodes again.

    Returns:
        n images that show the same pixels whether they were kept or not.
    """
    if side < 1:
        raise ValueError(f"side must be at least 1 pixel, found {side}.")
    small = ShrunkImages(images, side)
    if _estimated_bytes(small) > limit_bytes:
        return small
    kept: list[NDArray[np.uint8]] = []
    total = 0
    with closing(_arrays(small)) as arrays:
        for array in arrays:
            total += array.nbytes
            if total > limit_bytes:
                return small
            kept.append(array)
    return KeptImages(tuple(kept))


def _arrays(images: Images) -> Generator[NDArray[np.uint8], None, None]:
    return in_order(lambda i: _pixels(images[i]), len(images))


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """RGB (h, w, 3), or (h, w) where the three channels agree: a third of the memory."""
    rgb = np.array(image, dtype=np.uint8)
    if np.array_equal(rgb[..., 0], rgb[..., 1]) and np.array_equal(rgb[..., 0], rgb[..., 2]):
        return rgb[..., 0].copy()
    return rgb


def _estimated_bytes(images: Images, sample: int = 32) -> float:
    """Extrapolate from a few images, so that what will not fit is not decoded for nothing."""
    if len(images) <= sample:
        return 0.0
    chosen = np.linspace(0, len(images) - 1, sample).astype(int)
    return len(images) * float(np.mean([_pixels(images[int(i)]).nbytes for i in chosen]))
