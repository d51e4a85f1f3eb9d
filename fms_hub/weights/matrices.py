"""Features of weight matrices and kernels, from the raw statistics of all of a network's at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fms_hub.weights.measure import CDF_POINTS, QUANTILES, WIDTHS

Array = NDArray[np.float64]

_PLACES: Final = tuple(f"q{round(100 * q)}" for q in QUANTILES)
MATRIX_FEATURES: Final[tuple[str, ...]] = (
    "log_rms",
    "log_gain",
    "low",
    "high",
    "mean",
    "skew",
    "log_kurtosis",
    "positive",
    *(f"cdf_{point}" for point in CDF_POINTS),
    *(f"row_{place}" for place in _PLACES),
    "row_offset",
    "row_coherence",
    *(f"column_{place}" for place in _PLACES),
    "column_offset",
    "column_coherence",
    "tap_constant",
    "tap_linear",
    "tap_quadratic",
    "tap_centre",
    "tap_radius",
    "log_sigma",
    "log_spectral",
    "log_stable_rank",
    "krylov_0",
    "krylov_1",
)
"""Names of what `finish` returns, in order.

log_rms: log of the root mean square. log_gain: log(RMS * sqrt(fan-in)), 0 where variance is kept.
low, high: smallest and largest entry on the scale of `signed_log`. mean, skew, log_kurtosis: of w / RMS,
moments about zero, skew as asinh. positive: share of entries > 0. cdf_t: share with abs(w) <= t * RMS.
row_q*, column_q*: quantiles of the log of the norms of the weights into an output and out of an input.
*_offset: mean share of a row's energy in its mean. *_coherence: log of the squared length of the sum of
unit rows over their number (0 for independent rows).
tap_*: share of energy in constant, linear and quadratic cosine modes of the kernel's support and in
its central taps; mean squared distance from the centre (0 to 1).
log_sigma: log of the largest singular value. log_spectral: the same over RMS * (sqrt(rows) +
sqrt(columns)), its size for noise. log_stable_rank: log of squared Frobenius over squared spectral
norm, over the smaller side. krylov_k: log of the singular value seen after k half-steps over the last:
how the spectrum decays.
Absolute sizes stand beside relative ones on purpose: what early training did shows in both, and
trees and kernels with one length scale per column do not add logs by themselves.
"""

FLOOR: Final = 1e-6
"""Root mean squares below this are taken for it, so that a bias that starts at zero is no outlier."""

_UNIT: Final = 1e-3


def signed_log(values: Array) -> Array:
    """sign(v) * log(1 + abs(v) / 0.001): linear near zero, logarithmic beyond, for sizes of either sign."""
    scaled: Array = np.sign(values) * np.log1p(np.abs(values) / _UNIT)
    return scaled


def finish(raw: Array, shapes: NDArray[np.int64]) -> Array:
    """Features from the raw statistics of finite tensors.

    Args:
        raw: (N, sum(WIDTHS)) of N tensors.
        shapes: their G, O, I and T (N, 4).

    Returns:
        (N, len(MATRIX_FEATURES)), finite.
    """
    groups, outputs, inputs, taps = shapes.T.astype(np.float64)
    count, width = groups * outputs * inputs * taps, inputs * taps
    peak, extremes, energy, entries, rows, columns, modes, steps = np.split(
        raw, np.cumsum(WIDTHS)[:-1], axis=1
    )
    rms = np.sqrt(energy[:, 0] / count)
    size = peak[:, 0] * rms
    share = modes / _nonzero(energy)
    share[:, -1] = modes[:, -1] / _nonzero(energy[:, 0])
    return np.column_stack(
        [
            np.log(np.maximum(size, FLOOR)),
            np.log(np.maximum(size * np.sqrt(width), FLOOR)),
            signed_log(extremes),
            _moments(entries[:, :3] / count[:, None], _nonzero(rms)),
            entries[:, 3:] / count[:, None],
            _norms(rows, size * np.sqrt(width), groups * outputs),
            _norms(columns, size * np.sqrt(outputs * taps), groups * width),
            share,
            _spectrum(steps, energy[:, 0], peak[:, 0], groups, outputs, width),
        ]
    )


def _norms(relative: Array, scale: Array, number: Array) -> Array:
    """From norms over their RMS, offset and squared length of the sum of `number` unit rows."""
    places = np.log(np.maximum(relative[:, : len(QUANTILES)] * scale[:, None], FLOOR))
    coherence = np.log(relative[:, -1] / number + 0.01)
    return np.column_stack([places, relative[:, -2], coherence])


def _moments(means: Array, rms: Array) -> Array:
    """From the means of w, w^3 and w^4, with the largest abs(w) scaled to 1."""
    first, third, fourth = means.T
    kurtosis = np.maximum(fourth / rms**4, 1.0)
    return np.column_stack([first / rms, np.arcsinh(third / rms**3), np.log(kurtosis)])


def _spectrum(
    steps: Array,
    energy: Array,
    peak: Array,
    groups: Array,
    outputs: Array,
    width: Array,
) -> Array:
    side = groups * np.minimum(outputs, width)
    frobenius = np.sqrt(_nonzero(energy))
    spectral = np.maximum(steps[:, -1], frobenius / np.sqrt(side))
    noise = frobenius / np.sqrt(groups * outputs * width) * (np.sqrt(outputs) + np.sqrt(width))
    present = energy > 0
    rank = np.log(frobenius**2 / spectral**2 / side)
    decay = np.log(np.maximum(steps[:, :-1] / spectral[:, None], 1e-3))
    relative = np.column_stack([np.log(spectral / noise), rank, decay]) * present[:, None]
    return np.column_stack([np.log(np.maximum(peak * spectral * present, FLOOR)), relative])


def _nonzero(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)
