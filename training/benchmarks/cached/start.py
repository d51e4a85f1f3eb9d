"""Pooled weight graphs of candidates before any training, for corpora without epoch 0."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fms_hub.models.zoo import build
from fms_hub.weights.describe import describe
from training.benchmarks.cached.pool import Pool, pools
from training.corpus import candidates
from training.corpus.targets import TINY
from training.corpus.tasks import IMAGE_SIZE

CLASSES = 10
"""Of the new head, which says nothing yet."""


def hub_pools(folder: Path) -> dict[str, Pool]:
    """The pools of a hub; where its runs are not sketched before training, with the candidates' own weights.

    Raises:
        UsageError: see `training.benchmarks.cached.pool.pools`.
    """
    read = pools(folder)
    names = {run.candidate for pool in read.values() if pool.hub == TINY for run in pool.runs}
    start = start_sketches(names)
    return {task: replace(pool, start=start) for task, pool in read.items()}


def start_sketches(names: Iterable[str]) -> dict[str, NDArray[np.float64]]:
    """The sketches of the timm-tiny hub's candidates by name; what is not trained on this disk is left out.

    Raises:
        CandidateError: a name that is no candidate of the hub.
    """
    found = {}
    for name in sorted(set(names)):
        candidate = candidates.find(name)
        if candidate is None:
            print(f"{name} is not trained here, so it has no start sketch.", file=sys.stderr)
            continue
        model = build(candidate, classes=CLASSES, image_size=IMAGE_SIZE)
        found[name] = describe(model.module, (3, IMAGE_SIZE, IMAGE_SIZE)).pooled()
    return found
