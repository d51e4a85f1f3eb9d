"""What a search has cost: epochs, seconds, and how looking at candidates counts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fms_hub.records import Observation, Probe

PASSES = 3
"""Passes through the network that training on an image takes, a probe taking one: a backward pass costs about
twice the forward one."""


@dataclass(frozen=True)
class Spent:
    """What a search has cost so far, failed epochs and probes included."""

    epochs: int
    seconds: float


def spent(history: Sequence[Observation], probes: Iterable[Probe], images_per_epoch: int) -> Spent:
    """What epochs and probes cost together.

    Args:
        history: all observations.
        probes: all probes.
        images_per_epoch: training images that an epoch sees, >= 1.
    """
    seen = list(probes)
    seconds = sum(o.seconds + o.overhead for o in history) + sum(p.seconds for p in seen)
    return Spent(len(history) + probing_epochs(sum(p.images for p in seen), images_per_epoch), seconds)


def probing_epochs(images: int, images_per_epoch: int) -> int:
    """Epochs that count as spent for showing so many images to candidates, rounded up."""
    return math.ceil(images / (PASSES * images_per_epoch))
