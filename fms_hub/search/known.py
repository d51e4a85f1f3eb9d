"""What is known of a task and its candidates besides numbers and weights, as the surrogate reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Probe
from fms_hub.surrogate.inputs import METADATA, PROBES

__all__ = ["METADATA", "PROBES", "Known", "metadata_vector", "probe_vector", "with_standing"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """All of it may be missing.

    Attributes:
        embedding: (E,), see `fms_hub.finetune.embedding`; None if unknown.
        metadata: by candidate, see `metadata_vector`.
        probes: by candidate, see `probe_vector`.
    """

    embedding: Vector | None = None
    metadata: Mapping[str, Vector] = field(default_factory=dict)
    probes: Mapping[str, Vector] = field(default_factory=dict)

    def after(self, probe: Probe, classes: int) -> Known:
        """And what a probe says, on a task of so many classes."""
        return replace(self, probes={**self.probes, probe.candidate: probe_vector(probe, classes)})


def metadata_vector(
    parameters: int | None, *, pretrained: bool, classes: int | None, accuracy: float | None
) -> Vector:
    """What is written about a candidate.

    Args:
        parameters: of the network; None if unknown.
        pretrained: whether its weights were trained.
        classes: it was pretrained on; None if unknown.
        accuracy: at its source, in [0, 1]; None if unknown.

    Returns:
        (5,), see `METADATA`: decimal logarithms, 0 for what is unknown.
    """
    return np.array(
        [
            math.log10(parameters) if parameters else 0.0,
            float(pretrained),
            math.log10(classes) if classes else 0.0,
            accuracy or 0.0,
            float(accuracy is not None),
        ]
    )


def probe_vector(probe: Probe, classes: int) -> Vector:
    """A probe in units that tasks of few and of many classes share.

    Args:
        probe: of a candidate.
        classes: of the task, >= 2.

    Returns:
        (4,), `PROBES` but for the standing: LogME as it is, the H-score's share of its largest value,
        accuracies above chance.
    """
    chance = 1.0 / classes
    above = [(accuracy - chance) / (1.0 - chance) for accuracy in (probe.knn, probe.linear)]
    return np.array([probe.logme, probe.h_score / (classes - 1), *above])


def with_standing(probes: Mapping[str, Vector]) -> dict[str, Vector]:
    """Probes (4,) by candidate, and where each candidate stands among all of them, (5,), see `PROBES`.

    The standing is the mean over the probes of how many deviations the candidate's lies above the mean of all
    candidates; 0 where all are alike. What a probe says of one candidate depends on the task more than on
    the candidate; that it says more of it than of others does not.
    """
    if not probes:
        return {}
    rows = np.array(list(probes.values()))
    spread = rows.std(axis=0)
    standing = ((rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)).mean(axis=1)
    return dict(zip(probes, np.column_stack([rows, standing]), strict=True))
