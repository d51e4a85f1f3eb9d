"""Feeding: batches of pixels, from memory where they fit, else transformed as they are needed.

n = images of a split, B = batch, S = height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fms_hub.finetune.transforms import Transform
from fms_hub.seeding import seed_cpu
from fms_hub.tasks.task import Images

_SPREAD = 0x9E3779B1
"""Odd, so that images get distinct seeds, which lie far apart."""


@dataclass(frozen=True)
class Batch:
    """Pixels uint8 (B, 3, S, S) and labels int64 (B,), on the CPU."""

    pixels: Tensor
    labels: Tensor


class TransformedImages(Dataset[Tensor]):
    """Images through a transform; image i always draws from its own seed.

    So a view does not depend on how many workers there are, or on what was drawn before it. It leaves the
    global generators of python and numpy seeded. For a transform that draws nothing the seed is None.
    """

    def __init__(self, images: Images, transform: Transform, seed: int | None) -> None:
        self._images, self._transform, self._seed = images, transform, seed

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Tensor:
        if self._seed is None:
            return self._transform(self._images[index])
        # Not `seeded_on_cpu`: putting python's and numpy's states back outlasts a small image's transform.
        state = torch.get_rng_state()
        seed_cpu((self._seed ^ (index * _SPREAD)) & 0xFFFFFFFF)
        try:
            return self._transform(self._images[index])
        finally:
            torch.set_rng_state(state)


def shuffled(n: int, batch_size: int, seed: int) -> list[list[int]]:
    """A random order of 0 .. n-1 cut into batches; a last batch of one image is dropped.

    Batch normalisation cannot train on a single image.
    """
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    cut = in_order(n, batch_size)
    batches = [[order[i] for i in batch] for batch in cut]
    return batches[:-1] if len(batches) > 1 and len(batches[-1]) == 1 else batches


def in_order(n: int, batch_size: int) -> list[list[int]]:
    """0 .. n-1 cut into batches; the last may be smaller."""
    return [list(range(start, min(start + batch_size, n))) for start in range(0, n, batch_size)]


def pixels_of(images: TransformedImages, indices: Sequence[list[int]], workers: int) -> Iterator[Tensor]:
    """The images of each batch, uint8 (B, 3, S, S), transformed here or by worker processes."""
    loader = DataLoader(
        images,
        batch_sampler=indices,
        num_workers=workers,
        collate_fn=torch.stack,
        generator=torch.Generator().manual_seed(0),  # else it would draw from the global one
    )
    yield from loader


def in_memory(images: TransformedImages, size: int, limit_bytes: int, workers: int) -> Tensor | None:
    """All images as one uint8 tensor (n, 3, S, S), or None where it would exceed the limit."""
    n = len(images)
    if n * 3 * size * size > limit_bytes:
        return None
    kept = torch.empty((n, 3, size, size), dtype=torch.uint8)
    start = 0
    for pixels in pixels_of(images, in_order(n, 256), workers):
        kept[start : start + len(pixels)] = pixels
        start += len(pixels)
    return kept
