"""Which errors of an epoch are findings about its configuration: divergence, and memory."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fms_hub.errors import TrainingFailure

_MEMORY_SIGNS = ("out of memory", "not enough memory", "alloc_failed", "can't allocate memory")


@contextmanager
def failures(what: str) -> Iterator[None]:
    """Turn a FloatingPointError or an exhausted memory into a `TrainingFailure` with the seconds it cost.

    Args:
        what: names the epoch in the message.

    Raises:
        TrainingFailure: ``"diverged"`` or ``"out-of-memory"``; every other error passes as it is.
    """
    started = time.perf_counter()
    try:
        yield
    except FloatingPointError as error:
        raise TrainingFailure(
            "diverged", f"{what}: {error}.", seconds=time.perf_counter() - started
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        _free(error)
        message = f"{what}: out of memory. A smaller batch_size or image_size needs less."
        raise TrainingFailure("out-of-memory", message, seconds=time.perf_counter() - started) from error


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether memory ran out, on a GPU or on the CPU (which torch reports as a plain RuntimeError)."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error).lower() for sign in _MEMORY_SIGNS)


def _free(error: BaseException) -> None:
    """Let go of the tensors that the error's frames still hold."""
    traceback.clear_frames(error.__traceback__)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
