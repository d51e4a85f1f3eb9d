"""What a surrogate is asked about: one row per (run, next epoch), in groups that may be absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]

METADATA = ("log_parameters", "pretrained", "log_source_classes", "source_accuracy", "accuracy_known")
"""Names of the columns of `Inputs.metadata`; logarithms are decimal, and 0 is what is unknown."""

PROBES = ("logme", "h_score", "knn", "linear", "standing")
"""Names of the columns of `Inputs.probes`."""

WEIGHTS = ("start", "weights")
"""The groups of `Inputs` that weights are in."""


@dataclass(frozen=True)
class Inputs:
    """n rows in ten groups. A row of NaN says that the group is absent for that row.

    Attributes:
        hyperparameters: (n, H), see `fms_hub.search.space`.
        fidelity: (n, 2), the epoch asked about as a fraction of the horizon in (0, 1], and the decimal
            logarithm of the training images seen by then.
        curve: (n, 6), the run's curve so far: its length as a fraction of the horizon; last, best and
            first validation score, last gain, last training loss squashed to (0, 1); absent before the
            first epoch.
        weights: (n, W), pooled weight graph of the checkpoint that the epoch starts from.
        start: (n, W), the same of the checkpoint that the run started from.
        task: (n, T), meta-features of the task.
        embedding: (n, E), a small encoder's response to the task, see `fms_hub.finetune.embedding`.
        metadata: (n, M), what is written about the candidate, see `METADATA`.
        probes: (n, P), how well the candidate's features tell the classes apart, alone and beside the other
            candidates', see `PROBES` and `fms_hub.search.known`.
        candidate: (n,), number of the candidate within the search, -1 if absent.
    """

    hyperparameters: Rows
    fidelity: Rows
    curve: Rows
    weights: Rows
    start: Rows
    task: Rows
    embedding: Rows
    metadata: Rows
    probes: Rows
    candidate: NDArray[np.int64]

    def __post_init__(self) -> None:
        if len({len(getattr(self, field.name)) for field in fields(self)}) != 1:
            raise ValueError("all groups of inputs need the same number of rows")

    def __len__(self) -> int:
        return len(self.candidate)

    def showing(self, groups: Mapping[str, Rows]) -> Inputs:
        """The same rows with other values of some groups, by name."""
        blocks: dict[str, Any] = dict(groups)
        return replace(self, **blocks)

    def rows(self, index: slice | NDArray[np.int64]) -> Inputs:
        """The given rows, in the given order."""
        return Inputs(*(getattr(self, field.name)[index] for field in fields(self)))


def evenly(n: int, most: int) -> NDArray[np.int64]:
    """Numbers of at most so many of n rows, (min(n, most),), spread evenly over them, both ends included."""
    return np.linspace(0, n - 1, min(n, most)).astype(np.int64)


def concatenate(parts: Sequence[Inputs]) -> Inputs:
    """Stack inputs of the same widths on top of each other."""
    return Inputs(*(np.concatenate([getattr(p, field.name) for p in parts]) for field in fields(Inputs)))
