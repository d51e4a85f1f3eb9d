"""A small thread pool for decoding: Pillow and hashlib release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

# Bounds what is decoded ahead, and how long Ctrl-C waits.
_CHUNK = 64


def in_order(function: Callable[[int], T], count: int) -> Generator[T, None, None]:
    """Yield ``function(0) .. function(count - 1)`` in this order, computed by at most four threads."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for start in range(0, count, _CHUNK):
            yield from pool.map(function, range(start, min(start + _CHUNK, count)))
