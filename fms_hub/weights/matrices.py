"""Invariants of weight matrices and kernels: O(parameters), one value per neuron at most in between.

Shapes: B tensors of one shape, G groups, O outputs and I inputs per group, T taps.
Every feature is a symmetric function of the G * O rows and of the G * I columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CDF_POINTS: Final = (0.03, 0.1, 0.25, 0.45, 0.7, 0.93, 1.3, 1.8, 2.5, 3.5)
"""Where the distribution of abs(w) / RMS is read; not at 1, where constant tensors sit."""

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
STEPS: Final = 6

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

_VANISHED: Final = 1e-5
"""A power step shorter than this share of the Frobenius norm is rounding noise, as are all after it."""

_TINY: Final = 1e-37

_CHUNK: Final = 2**16
"""Entries whose statistics are taken at a time, so that they stay in the processor's cache."""

_SMALL_BLOCK: Final = 1024
"""On the CPU, batched products of larger blocks with one vector are slower than one by one."""

_ENTRIES: Final = 5 + len(CDF_POINTS)
_NORMS: Final = len(_NORM_FEATURES)
_DECAY: Final = (0, 1, 3, 7)
RAW: Final = 2 + _ENTRIES + 2 * _NORMS + 5 + len(_DECAY) + 1
"""Number of statistics that `measure` takes."""


def measure(weights: Tensor, kernel: Sequence[int]) -> Tensor:
    """Take the raw statistics of tensors of one shape, on their device; `finish` makes them features.

    Args:
        weights: float32 or float64 (B, G, O, I, T), none empty; overwritten. Two more tensors
            of its size are never alive at once.
        kernel: extents of the kernel, product T; empty for none.

    Returns:
        (B, RAW). The first is the largest absolute value, not finite exactly where a tensor is not.
    """
    flat = weights.flatten(1)
    peak = torch.maximum(flat.amax(1), -flat.amin(1))
    unit = weights.div_(_positive(peak)[:, None, None, None, None])
    square = unit * unit
    rows, columns = square.flatten(3).sum(3), square.sum(2)
    del square
    energy = rows.sum((1, 2))
    matrix = unit.flatten(3)
    row_sums, column_sums = matrix.sum(3), unit.sum((2, 4))
    parts = [
        torch.stack([peak, energy], 1),
        _entries(unit.flatten(1), energy),
        _norms(rows.flatten(1), row_sums.flatten(1), matrix.shape[3]),
        _sums(_products(matrix.mT, _positive(rows).rsqrt())),
        _norms(columns.sum(3).flatten(1), column_sums.flatten(1), unit.shape[2] * unit.shape[4]),
        _sums(_products(matrix, _positive(columns).rsqrt().flatten(2))),
        _taps(unit, columns.sum((1, 2)), tuple(kernel)),
        _steps(matrix, columns.flatten(2).sqrt(), energy.sqrt()),
    ]
    return torch.cat(parts, 1)


def finish(raw: NDArray[np.float64], shapes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Features from the raw statistics of finite tensors.

    Args:
        raw: (N, RAW) of N tensors.
        shapes: their G, O, I and T (N, 4).

    Returns:
        (N, len(MATRIX_FEATURES)), finite.
    """
    groups, outputs, inputs, taps = shapes.T.astype(np.float64)
    count, width = groups * outputs * inputs * taps, inputs * taps
    peak, energy, entries, rows, columns, modes, steps = np.split(raw, np.cumsum(_SPLITS)[:-1], axis=1)
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


_SPLITS: Final = (1, 1, _ENTRIES, _NORMS, _NORMS, 5, len(_DECAY) + 1)


def _moments(means: NDArray[np.float64], rms: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the means of w, abs(w), w^3 and w^4, with the largest abs(w) scaled to 1."""
    first, absolute, third, fourth = means.T
    kurtosis = np.maximum(fourth / rms**4, 1.0)
    return np.column_stack(
        [first / rms, absolute / rms, np.arcsinh(third / rms**3), np.log(kurtosis), -np.log(rms)]
    )


def _spectrum(
    steps: NDArray[np.float64],
    energy: NDArray[np.float64],
    groups: NDArray[np.float64],
    outputs: NDArray[np.float64],
    width: NDArray[np.float64],
) -> NDArray[np.float64]:
    side = groups * np.minimum(outputs, width)
    frobenius = np.sqrt(_nonzero(energy))
    spectral = np.maximum(steps[:, -1], frobenius / np.sqrt(side))
    noise = frobenius / np.sqrt(groups * outputs * width) * (np.sqrt(outputs) + np.sqrt(width))
    present = energy > 0
    rank = np.log(frobenius**2 / spectral**2 / side)
    decay = np.log(np.maximum(steps[:, :-1] / spectral[:, None], 1e-3))
    return np.column_stack([np.log(spectral / noise), rank, decay]) * present[:, None]


def _nonzero(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values > 0, values, 1.0)


def _positive(values: Tensor) -> Tensor:
    """Values >= 0 as divisors: what is divided by one that is 0 is 0 itself."""
    return values.clamp_min(_TINY)


def _entries(unit: Tensor, energy: Tensor) -> Tensor:
    """Sums over entries of w, abs(w), w^3, w^4 and of what lies above 0 and within the CDF's points."""
    points = torch.tensor([point * point / unit.shape[1] for point in CDF_POINTS], dtype=unit.dtype)
    limits = energy[:, None] * points.to(unit.device)
    total = torch.zeros(len(unit), _ENTRIES, dtype=unit.dtype, device=unit.device)
    for part in torch.split(unit, max(1, _CHUNK // len(unit)), 1):
        square = part * part
        flag = torch.empty_like(square)
        sums = [part.sum(1), torch.abs(part, out=flag).sum(1), _dot(square, part), _dot(square, square)]
        sums.append(torch.gt(part, 0, out=flag).sum(1))
        sums += [torch.le(square, limit[:, None], out=flag).sum(1) for limit in limits.unbind(1)]
        total += torch.stack(sums, 1)
    return total


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if len(a) == 1:
        return torch.dot(a[0], b[0])[None]
    return (a * b).sum(1)


def _sums(vectors: Tensor) -> Tensor:
    return vectors.square().sum((1, 2))[:, None]


def _norms(squares: Tensor, sums: Tensor, length: int) -> Tensor:
    """Distribution of norms (B, N) of rows or columns; `sums` of their entries, `length` of each."""
    norms = squares.sqrt() / _positive(squares.mean(1, True)).sqrt()
    norms, _ = norms.sort(1)
    lower, upper, weight = _quantile_places(norms.shape[1], norms.dtype)
    device = norms.device
    quantiles = torch.lerp(norms[:, lower.to(device)], norms[:, upper.to(device)], weight.to(device))
    offset = (sums.square() / _positive(squares)).mean(1, True) / length
    return torch.cat([norms.mean(1, True), quantiles, norms[:, -1:], offset], 1)


@lru_cache(maxsize=256)
def _quantile_places(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    places = torch.tensor(QUANTILES, dtype=torch.float64) * (count - 1)
    return places.floor().long(), places.ceil().long(), (places - places.floor()).to(dtype)


def _taps(unit: Tensor, taps: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Energy (B, 5) in modes of order 0, 1, 2, in the central taps, and weighted by squared radius."""
    if taps.shape[1] == 1:
        return torch.nn.functional.pad(taps, (0, 4)) + torch.nn.functional.pad(taps, (3, 1))
    modes, orders, centre, radius = (part.to(unit) for part in _basis(kernel))
    projected = (unit.flatten(1, 3) @ modes).square().sum(1)
    return torch.cat([projected @ orders, (taps @ centre)[:, None], (taps @ radius)[:, None]], 1)


@lru_cache(maxsize=64)
def _basis(kernel: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosine modes of total order <= 2 (T, M), orders as one-hot (M, 3), central taps, squared radius."""
    grid = [axis.flatten() for axis in np.meshgrid(*map(np.arange, kernel), indexing="ij")]
    modes, orders = [], []
    for frequency in np.ndindex(*(min(3, size) for size in kernel)):
        if sum(frequency) <= 2:
            waves = [
                np.cos(np.pi * k * (p + 0.5) / n) for k, p, n in zip(frequency, grid, kernel, strict=True)
            ]
            mode = np.prod(waves, axis=0)
            modes.append(mode / np.linalg.norm(mode))
            orders.append(np.eye(3)[sum(frequency)])
    radii = [((2 * p - (n - 1)) / max(n - 1, 1)) ** 2 for p, n in zip(grid, kernel, strict=True)]
    radius = np.mean(radii, axis=0)
    centre = (radius <= radius.min() + 1e-9).astype(np.float64)
    return (
        torch.tensor(np.stack(modes, 1)),
        torch.tensor(np.stack(orders)),
        torch.tensor(centre),
        torch.tensor(radius),
    )


def _steps(matrix: Tensor, start: Tensor, frobenius: Tensor) -> Tensor:
    """Singular values seen on the way (B, len(_DECAY) + 1): power steps from the column norms (B, G, N).

    Vectors shrink by the squared Frobenius norm a step instead of being normalised, so that their
    lengths, which are all that is kept, can be taken together at the end.
    """
    energy = frobenius.square()[:, None, None]
    lefts, rights = [], [start / _positive(frobenius)[:, None, None]]
    for _ in range(STEPS):
        lefts.append(_products(matrix, rights[-1]))
        rights.append(_products(matrix.mT, lefts[-1]) / _positive(energy))
    left = torch.stack(lefts, 1).flatten(2).double().square().sum(2).sqrt()
    right = torch.stack(rights, 1).flatten(2).double().square().sum(2).sqrt()
    forth, back = left / _positive(right[:, :-1]), right[:, 1:] * energy[:, 0] / _positive(left)
    seen = torch.stack([forth, back], 2).flatten(1)
    alive = (seen > _VANISHED * frobenius[:, None]).cumprod(1)
    return (seen * alive)[:, [*_DECAY, -1]].to(matrix.dtype)


def _products(matrix: Tensor, vectors: Tensor) -> Tensor:
    """(B, G, O, N) times (B, G, N)."""
    if matrix.shape[0] * matrix.shape[1] == 1:
        return torch.mv(matrix[0, 0], vectors[0, 0])[None, None]
    if matrix.device.type != "cpu" or matrix.shape[2] * matrix.shape[3] < _SMALL_BLOCK:
        return (matrix @ vectors[..., None])[..., 0]
    pairs = zip(matrix.flatten(0, 1).unbind(), vectors.flatten(0, 1).unbind(), strict=True)
    return torch.stack([torch.mv(block, vector) for block, vector in pairs]).view(*vectors.shape[:2], -1)
