"""From a candidate to a network with a fresh head, and back to a folder that others can open."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fms_hub.errors import CandidateError
from fms_hub.models import folder, from_timm
from fms_hub.models.model import InputSpec, Model, Request
from fms_hub.records import Candidate

__all__ = ["InputSpec", "Model", "build"]


def build(
    candidate: Candidate,
    *,
    classes: int,
    dropout: float = 0.0,
    image_size: int | None = None,
    seed: int = 0,
    weights: bool = True,
) -> Model:
    """A candidate's network with a new classification head.

    Args:
        candidate: what to build.
        classes: outputs of the new head, >= 2.
        dropout: probability of dropping a feature in front of the head, in [0, 1).
        image_size: pixels; None means the candidate's own.
        seed: of the random initialisation; the caller's generator is left as it was.
        weights: False leaves the pretrained weights out, for a network that is filled from a checkpoint.

    Raises:
        CandidateError: the weights do not fit, or the architecture cannot take this image size.
    """
    request = Request(candidate.name, classes, dropout, image_size, seed, weights)
    if candidate.source == "scratch":
        request = dataclasses.replace(request, weights=False)
        return from_timm.build(from_timm.origin_of_name(candidate.architecture), request)
    if candidate.source == "folder" and candidate.location is not None:
        opened = folder.open_folder(Path(candidate.location))
        return from_timm.build(from_timm.origin_of_folder(opened), request)
    raise CandidateError(f"{candidate.name}: source {candidate.source!r} cannot be built.")
