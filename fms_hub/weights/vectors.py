"""Invariants of tensors with one value per neuron: biases, scales, running statistics.

All vectors of a network are laid end to end and reduced by segment, on the CPU in float64: they are
a thousandth of its parameters, and many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.weights.matrices import FLOOR, signed_log
from fms_hub.weights.measure import QUANTILES

Array = NDArray[np.float64]

VECTOR_FEATURES: Final[tuple[str, ...]] = (
    "log_rms", "log_std", "mean", *(f"q{round(100 * q)}" for q in QUANTILES)
)  # fmt: skip
"""Names of what `vector_features` returns: logs of root mean square and standard deviation; mean and
quantiles on the scale of `fms_hub.weights.matrices.signed_log`."""

RUNNING_FEATURES: Final[tuple[str, ...]] = (
    "log_shift", "log_var_mean", "log_var_std", "fold_mean", "fold_std"
)  # fmt: skip
"""Names of what `running_features` returns.

log_shift: log RMS of running mean over running deviation. log_var_*: mean and standard deviation of
the log of the running variance. fold_*: the same of log(abs(scale) / running deviation), the factor
that inference applies to each channel.
"""


@dataclass(frozen=True)
class Segments:
    """Vectors laid end to end.

    Attributes:
        values: float64 (total,).
        starts: index of each vector's first value (N,).
        sizes: number of values of each, >= 1 (N,).
    """

    values: Array
    starts: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, vectors: Sequence[Tensor]) -> Segments:
        """Lay tensors of any float type and device end to end; at least one, none empty."""
        wide = torch.float64 if any(v.dtype == torch.float64 for v in vectors) else torch.float32
        joined = torch.cat([vector.detach().reshape(-1).to(wide) for vector in vectors])
        sizes = np.array([vector.numel() for vector in vectors], dtype=np.intp)
        return cls(joined.cpu().numpy().astype(np.float64), np.cumsum(sizes) - sizes, sizes)

    def with_values(self, values: Array) -> Segments:
        """The same division of other values."""
        return Segments(values, self.starts, self.sizes)

    def merged(self, first: NDArray[np.intp]) -> Segments:
        """Fewer, longer vectors: each begins with the vector whose index is in `first`, ascending from 0."""
        return Segments(self.values, self.starts[first], np.add.reduceat(self.sizes, first))

    def sum(self) -> Array:
        """Sum of each vector (N,)."""
        sums: Array = np.add.reduceat(self.values, self.starts)
        return sums

    def peak(self) -> Array:
        """Largest absolute value of each vector (N,); not finite where a value is not finite."""
        peaks: Array = np.maximum.reduceat(np.abs(self.values), self.starts)
        return peaks

    def mean(self) -> Array:
        """Mean of each vector (N,)."""
        return self.sum() / self.sizes

    def quantiles(self) -> Array:
        """Quantiles of each vector, interpolated linearly: (N, len(QUANTILES))."""
        order = np.lexsort((self.values, np.repeat(np.arange(len(self.sizes)), self.sizes)))
        places = self.starts[:, None] + np.array(QUANTILES) * (self.sizes[:, None] - 1)
        lower = np.floor(places).astype(np.intp)
        ordered = self.values[order]
        share = places - lower
        upper = np.minimum(lower + 1, len(ordered) - 1)
        found: Array = ordered[lower] * (1 - share) + ordered[upper] * share
        return found

    def spread(self, per_vector: Array) -> Array:
        """One value per vector, repeated over its entries (total,)."""
        return np.repeat(per_vector, self.sizes)


def vector_features(vectors: Segments) -> Array:
    """Sketch finite vectors: (N, len(VECTOR_FEATURES)), finite."""
    scale = _positive(vectors.peak())
    unit = vectors.with_values(vectors.values / vectors.spread(scale))
    rms = np.sqrt(unit.with_values(unit.values * unit.values).mean())
    columns = [
        np.log(np.maximum(scale * rms, FLOOR)),
        np.log(np.maximum(scale * _deviation(unit), FLOOR)),
        signed_log(scale * unit.mean()),
    ]
    return np.column_stack([*columns, signed_log(vectors.quantiles())])


def running_features(mean: Segments, var: Segments, scale: Array) -> Array:
    """Sketch running statistics of batch norms: (N, len(RUNNING_FEATURES)), finite.

    Args:
        mean: running means.
        var: running variances, divided alike.
        scale: scales of the same channels laid end to end, ones where a norm has none.
    """
    deviation = np.sqrt(np.maximum(var.values, 0.0) + 1e-5)
    shift = mean.with_values((mean.values / deviation) ** 2).mean()
    log_var = mean.with_values(2.0 * np.log(deviation))
    fold = mean.with_values(np.log(np.maximum(np.abs(scale) / deviation, FLOOR)))
    columns = [
        0.5 * np.log(np.maximum(shift, FLOOR)),
        log_var.mean(),
        _deviation(log_var),
        fold.mean(),
        _deviation(fold),
    ]
    return np.stack(columns, 1)


def _deviation(segments: Segments) -> Array:
    centred = segments.values - segments.spread(segments.mean())
    return np.sqrt(segments.with_values(centred * centred).mean())


def _positive(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)
