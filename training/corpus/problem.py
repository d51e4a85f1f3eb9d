"""A task of the corpus as a search on it would be told of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from fms_hub.corpus.schema import TaskRow
from fms_hub.search.encoding import Problem, Vector
from fms_hub.search.known import Known
from fms_hub.search.space import Space

IMAGES = 1000
"""Of an epoch, where a task's row does not tell."""


def problem_of_task(
    task: TaskRow,
    candidates: Iterable[str],
    space: Space,
    horizon: int,
    start: Mapping[str, Vector] | None = None,
    known: Known | None = None,
) -> Problem:
    """What a search over the candidates would be about; arguments are those of `Problem`."""
    features = task.features or {}
    return Problem(
        candidates=tuple(sorted(set(candidates))),
        space=space,
        horizon=horizon,
        images_per_epoch=task.train or IMAGES,
        task=np.array([features[name] for name in sorted(features)] or [np.nan]),
        start=start or {},
        chance=1.0 / task.classes,
        known=known or Known(),
    )


def latest(sketches: Iterable[Vector | None]) -> Vector | None:
    """The first one there is, given newest first: a corpus does not sketch every epoch."""
    return next((sketch for sketch in sketches if sketch is not None), None)
