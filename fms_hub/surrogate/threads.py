"""How many threads a Gaussian process is worth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

ALONE_UP_TO = 512
"""Observed rows up to which one thread is as fast as two, and far steadier where cores are shared:
256 rows took 27 ms (mean 34) with one thread, 45 (56) with two (training/LOG.md)."""


@contextmanager
def threads_for(rows: int) -> Iterator[None]:
    """One thread for PyTorch where a process has few observed rows, else those it has; then as before."""
    with using(1 if rows <= ALONE_UP_TO else torch.get_num_threads()):
        yield


@contextmanager
def using(threads: int) -> Iterator[None]:
    """So many threads for PyTorch, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
