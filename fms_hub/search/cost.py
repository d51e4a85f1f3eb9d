"""What one more epoch will cost: a small Bayesian regression, updated with every epoch that was trained.

n = observed epochs, F = features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.records import Observation, Value

Vector = NDArray[np.float64]
_BATCH = 32
_COMMON, _CANDIDATE, _SETTING, _NOISE = 2.0, 1.0, 0.3, 0.2
"""Deviations of logarithms: of what all epochs have in common, of a candidate, of a setting; of an epoch."""
_UNMEASURED = 3.0
"""The deviation of a candidate whose seconds were not measured before the search."""


@dataclass(frozen=True)
class CostModel:
    """Seconds of an epoch: exp(log measured + b . x + noise), b normal.

    x: one for all epochs, one for the epoch's candidate, and what of the configuration makes an epoch cheaper
    or dearer: smaller batches, frozen layers, augmentation.

    Attributes:
        measured: seconds of an epoch of each candidate with default hyperparameters, as far as known before
            the search; others are taken for the median of these, or for one second.
        candidates: names, in the order of their coefficients.
        mean: (F,), of the coefficients.
        covariance: (F, F).
    """

    measured: Mapping[str, float]
    candidates: tuple[str, ...]
    mean: Vector
    covariance: Vector

    @classmethod
    def prior(cls, candidates: Sequence[str], measured: Mapping[str, float] | None = None) -> CostModel:
        """Before anything was trained.

        Args:
            candidates: names.
            measured: see there; > 0.
        """
        known = dict(measured or {})
        own = [_CANDIDATE if name in known else _UNMEASURED for name in candidates]
        deviations = np.array([_COMMON, *own, *[_SETTING] * len(_settings({}))])
        return cls(known, tuple(candidates), np.zeros(len(deviations)), np.diag(deviations**2))

    def after(self, history: Sequence[Observation]) -> CostModel:
        """Conditioned on epochs that took any time (overhead included); failed ones count, too."""
        seen = [o for o in history if o.seconds + o.overhead > 0]
        if not seen:
            return self
        x = self._features([(o.candidate, o.hyperparameters) for o in seen])
        base = np.array([self._base(o.candidate) for o in seen])
        y = np.log([o.seconds + o.overhead for o in seen]) - base
        # By coefficients, not by observations: those grow in number, and LAPACK's threads slow small steps.
        before = np.linalg.inv(self.covariance)
        covariance = np.linalg.inv(before + x.T @ x / _NOISE**2).astype(np.float64)
        mean = covariance @ (before @ self.mean + x.T @ y / _NOISE**2)
        return CostModel(self.measured, self.candidates, mean, covariance)

    def seconds(self, configurations: Sequence[tuple[str, Mapping[str, Value]]]) -> Vector:
        """Median seconds of one epoch of (candidate, hyperparameters) pairs, (q,)."""
        known = {name: self._base(name) for name in {name for name, _ in configurations}}
        base = np.array([known[name] for name, _ in configurations])
        found: Vector = np.exp(base + self._features(configurations) @ self.mean)
        return found

    def _base(self, candidate: str) -> float:
        if candidate in self.measured:
            return math.log(self.measured[candidate])
        return math.log(float(np.median(list(self.measured.values())))) if self.measured else 0.0

    def _features(self, configurations: Sequence[tuple[str, Mapping[str, Value]]]) -> Vector:
        index = {name: number for number, name in enumerate(self.candidates)}
        rows = np.zeros((len(configurations), len(self.mean)))
        for row, (name, values) in zip(rows, configurations, strict=True):
            row[0] = 1.0
            row[1 + index[name]] = 1.0
            row[1 + len(self.candidates) :] = _settings(values)
        return rows


def _settings(values: Mapping[str, Value]) -> list[float]:
    """What of a configuration changes its seconds, 0 at the default; powers of two of the batch size."""
    return [
        math.log2(float(values.get("batch_size", _BATCH)) / _BATCH),
        float(values.get("frozen", 0.0)),
        float(values.get("augmentation", 0.0)),
    ]
