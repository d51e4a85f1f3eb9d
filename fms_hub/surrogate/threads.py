"""How many threads a Gaussian process takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

THREADS = 1
"""Of the Gaussian process. Two gain little over matrices of these sizes, and wait for one another where cores
are shared: 1,024 rows and 320 questions took 77 ms with one thread and 51 with two on idle cores, 124 and 353
on busy ones (`training.benchmarks.latency`, training/LOG.md)."""


@contextmanager
def using(threads: int) -> Iterator[None]:
    """So many threads for PyTorch, then as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
