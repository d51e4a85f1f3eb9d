"""What the zoo hands out: a network with a fresh head, and how its images must be prepared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.errors import CandidateError


@dataclass(frozen=True)
class InputSpec:
    """How images must be prepared for a network.

    Attributes:
        size: height and width in pixels, > 0.
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, divided by afterwards, > 0.
        interpolation: name of the resampling filter, e.g. ``"bicubic"``.
        crop: share of the shorter side that the centre crop keeps, in (0, 1] (timm's ``crop_pct``).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float


@dataclass(frozen=True)
class Model:
    """A network ready to be fine-tuned.

    Attributes:
        module: maps images (B, 3, size, size) to logits (B, classes).
        input: how the images are prepared.
    """

    module: nn.Module
    input: InputSpec


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from `seed`; the caller's CPU generator is put back afterwards.

    Networks are built on the CPU, so no other generator is touched.
    """
    state = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(state)


def require_logits(module: nn.Module, name: str, classes: int, size: int) -> None:
    """Run one black image through the network and see that (1, classes) comes out.

    Raises:
        CandidateError: the forward pass fails at this size, or gives another shape.
    """
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            logits = module(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as error:
        raise CandidateError(
            f"{name} cannot take images of {size} x {size} pixels: {first_line(error)}. "
            "Leave image_size out to use its own size, or choose one that its architecture allows."
        ) from error
    finally:
        module.train(training)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (1, classes):
        raise CandidateError(
            f"{name} must map images (B, 3, {size}, {size}) to logits (B, {classes}); for B = 1 it gave {found}. "
            "Wrap it in a module that returns the logits tensor."
        )


def first_line(error: BaseException) -> str:
    """The error's type and the first line of its message, for a message of ours."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
