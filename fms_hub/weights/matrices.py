"""Features of weight matrices and kernels, from the raw statistics of all of a network's at once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fms_hub.weights.measure import CDF_POINTS, QUANTILES, WIDTHS

Array = NDArray[np.float64]

_NORM_FEATURES: Final = (
    "mean",
    *(f"q{int(100 * q):02d}" for q in QUANTILES),
    "log_max",
    "offset",
    "coherence",
)
MATRIX_FEATURES: Final[tuple[str, ...]] = (
    "log_rms",
    "log_gain",
    "mean",
    "absmean",
    "skew",
    "log_kurtosis",
    "log_max",
    "positive",
    *(f"cdf_{point}" for point in CDF_POINTS),
    *(f"row_{name}" for name in _NORM_FEATURES),
    *(f"column_{name}" for name in _NORM_FEATURES),
    "tap_constant",
    "tap_linear",
    "tap_quadratic",
    "tap_centre",
    "tap_radius",
    "log_spectral",
    "log_stable_rank",
    "krylov_0",
    "krylov_1",
    "krylov_2",
    "krylov_4",
)
"""Names of what `finish` returns, in order.

log_rms: log of the root mean square. log_gain: log(RMS * sqrt(fan-in)), 0 where variance is kept.
mean, absmean, skew, log_kurtosis, log_max: of w / RMS, moments about zero, skew as asinh.
positive: share of entries > 0. cdf_t: share of entries with abs(w) <= t * RMS.
row_*, column_*: norms of the weights into an output and out of an input, over their RMS: mean,
quantiles, log of the largest; offset: mean share of a row's energy in its mean; coherence:
log of the squared length of the sum of unit rows over their number (0 for independent rows).
tap_*: share of energy in constant, linear and quadratic cosine modes of the kernel's support and in
its central taps; mean squared distance from the centre (0 to 1).
log_spectral: largest singular value over RMS * (sqrt(rows) + sqrt(columns)), its size for noise.
log_stable_rank: log of squared Frobenius over squared spectral norm, over the smaller side.
krylov_k: log of the singular value seen after k steps over the last: how the spectrum decays.
"""

FLOOR: Final = 1e-6
"""Root mean squares below this are taken for it, so that a bias that starts at zero is no outlier."""


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
    peak, energy, entries, rows, columns, modes, steps = np.split(raw, np.cumsum(WIDTHS)[:-1], axis=1)
    rms = np.sqrt(energy[:, 0] / count)
    size = np.maximum(peak[:, 0] * rms, FLOOR)
    rows[:, -1] /= groups * outputs
    columns[:, -1] /= groups * width
    for norms in (rows, columns):
        norms[:, -3] = np.log(np.maximum(norms[:, -3], 1.0))
        norms[:, -1] = np.log(norms[:, -1] + 0.01)
    share = modes / _nonzero(energy)
    share[:, -1] = modes[:, -1] / _nonzero(energy[:, 0])
    return np.column_stack(
        [
            np.log(size),
            np.log(np.maximum(peak[:, 0] * rms * np.sqrt(width), FLOOR)),
            _moments(entries[:, :4] / count[:, None], _nonzero(rms)),
            entries[:, 4:] / count[:, None],
            rows,
            columns,
            share,
            _spectrum(steps, energy[:, 0], groups, outputs, width),
        ]
    )


def _moments(means: Array, rms: Array) -> Array:
    """From the means of w, abs(w), w^3 and w^4, with the largest abs(w) scaled to 1."""
    first, absolute, third, fourth = means.T
    kurtosis = np.maximum(fourth / rms**4, 1.0)
    return np.column_stack(
        [first / rms, absolute / rms, np.arcsinh(third / rms**3), np.log(kurtosis), -np.log(rms)]
    )


def _spectrum(
    steps: Array,
    energy: Array,
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
    return np.column_stack([np.log(spectral / noise), rank, decay]) * present[:, None]


def _nonzero(values: Array) -> Array:
    return np.where(values > 0, values, 1.0)
