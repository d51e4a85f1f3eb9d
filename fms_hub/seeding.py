"""Contexts that seed the global generators and put the user's state back afterwards."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

_NUMPY_SEEDS = 2**32
"""numpy's legacy generator takes seeds below this."""


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2**63) that depends on all the parts and repeats on every machine."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch (CPU and CUDA), numpy and python; restore their states after, on errors too.

    Args:
        seed: in [0, 2**63).
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    with seeded_on_cpu(seed):
        try:
            torch.manual_seed(seed)
            yield
        finally:
            if cuda:
                torch.cuda.set_rng_state_all(cuda)


@contextmanager
def seeded_on_cpu(seed: int) -> Iterator[None]:
    """The same without CUDA, which is left asleep: for what never draws there, such as initial weights.

    Args:
        seed: in [0, 2**63).
    """
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        seed_cpu(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)


def seed_cpu(seed: int) -> None:
    """Seed the generators of `seeded_on_cpu` and leave them so.

    Args:
        seed: in [0, 2**63).
    """
    random.seed(seed)
    np.random.seed(seed % _NUMPY_SEEDS)
    torch.default_generator.manual_seed(seed)
