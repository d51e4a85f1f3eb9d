"""Raw statistics of weight matrices and kernels: O(parameters), one value per neuron at most in between.

Shapes: B tensors of one shape, G groups, O outputs and I inputs per group, T taps.
Every statistic is a symmetric function of the G * O rows and of the G * I columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

CDF_POINTS: Final = (0.1, 1.3, 2.5)
"""Where the distribution of abs(w) / RMS is read; not at 1, where constant tensors sit."""

QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS: Final = 6

_VANISHED: Final = 1e-5
"""A power step shorter than this share of the Frobenius norm is rounding noise, as are all after it."""

_TINY: Final = 1e-37

_CHUNK: Final = 2**16
"""Entries whose statistics are taken at a time, so that they stay in the processor's cache."""

_SMALL_BLOCK: Final = 1024
"""On the CPU, batched products of larger blocks with one vector are slower than one by one."""

DECAY: Final = (0, 1)
"""Half-steps of the power iteration whose singular values are kept, besides the last."""

WIDTHS: Final = (1, 2, 1, 4 + len(CDF_POINTS), 2 + len(QUANTILES), 2 + len(QUANTILES), 5, len(DECAY) + 1)
"""Columns of what `measure` returns: peak, range, energy, entries, rows, columns, taps, steps."""


def measure(weights: Tensor, kernel: Sequence[int]) -> Tensor:
    """Take the raw statistics of tensors of one shape, on their device; `finish` makes them features.

    Args:
        weights: (B, G, O, I, T) of any float type, none empty. One copy of them is made, float64 for
            float64 and float32 for all others.
        kernel: extents of the kernel, product T; empty for none.

    Returns:
        (B, sum(WIDTHS)). The first is the largest absolute value, not finite exactly where a tensor is not.
    """
    wide = torch.float64 if weights.dtype == torch.float64 else torch.float32
    flat = weights.flatten(1)
    low, high = flat.amin(1).to(wide), flat.amax(1).to(wide)
    peak = torch.maximum(high, -low)
    unit = (weights / _positive(peak)[:, None, None, None, None]).contiguous()
    energy = _dot(unit.flatten(1), unit.flatten(1))
    sums = _sums(unit, energy)
    blocks = _Blocks(unit.flatten(3))
    columns = sums.columns.flatten(2)
    parts = [
        torch.stack([peak, low, high, energy], 1),
        sums.entries,
        _norms(sums.rows.flatten(1), sums.row_sums.flatten(1), columns.shape[2]),
        _lengths(blocks.back(_positive(sums.rows).rsqrt())),
        _norms(
            sums.columns.sum(3).flatten(1), sums.column_sums.sum(3).flatten(1), unit.shape[2] * unit.shape[4]
        ),
        _lengths(blocks.forth(_positive(columns).rsqrt())),
        _taps(unit.flatten(1, 3), sums.columns.sum((1, 2)), tuple(kernel)),
        _steps(blocks, columns.sqrt(), energy.sqrt()),
    ]
    return torch.cat(parts, 1)


def _positive(values: Tensor) -> Tensor:
    """Values >= 0 as divisors: what is divided by one that is 0 is 0 itself."""
    return values.clamp_min(_TINY)


@dataclass(frozen=True)
class _Sums:
    """Statistics of entries; (plain) sums of squares of rows (B, G, O) and columns (B, G, I, T)."""

    entries: Tensor
    rows: Tensor
    row_sums: Tensor
    columns: Tensor
    column_sums: Tensor


def _sums(unit: Tensor, energy: Tensor) -> _Sums:
    """Everything that one reading of the weights gives, piece by piece along groups or outputs."""
    points = torch.tensor([point * point / unit[0].numel() for point in CDF_POINTS], dtype=unit.dtype)
    limits = (energy[:, None] * points.to(unit.device))[..., None].unbind(1)
    axis = 1 if unit.shape[1] > 1 else 2
    step = max(1, _CHUNK * unit.shape[axis] // unit.numel())
    pieces = [_piece(part, limits) for part in torch.split(unit, step, axis)]
    if len(pieces) == 1:
        return pieces[0]
    gather = torch.cat if axis == 1 else _total
    return _Sums(
        _total([piece.entries for piece in pieces]),
        torch.cat([piece.rows for piece in pieces], axis),
        torch.cat([piece.row_sums for piece in pieces], axis),
        gather([piece.columns for piece in pieces], 1),
        gather([piece.column_sums for piece in pieces], 1),
    )


def _piece(part: Tensor, limits: Sequence[Tensor]) -> _Sums:
    square = part * part
    flat, flat_square = part.flatten(1), square.flatten(1)
    flag = torch.empty_like(flat)
    entries = [
        flat.sum(1),
        _dot(flat_square, flat),
        _dot(flat_square, flat_square),
    ]
    entries.append(torch.gt(flat, 0, out=flag).sum(1))
    entries += [torch.le(flat_square, limit, out=flag).sum(1) for limit in limits]
    return _Sums(
        torch.stack(entries, 1), square.flatten(3).sum(3), part.flatten(3).sum(3), square.sum(2), part.sum(2)
    )


def _total(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Sum of tensors of one shape; `axis` is where their parts would lie if they were not summed."""
    return torch.stack(list(tensors)).sum(0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    if len(a) == 1:
        return torch.dot(a.flatten(), b.flatten())[None]
    return (a * b).sum(1)


def _lengths(vectors: Tensor) -> Tensor:
    return vectors.square().sum((1, 2))[:, None]


def _norms(squares: Tensor, sums: Tensor, length: int) -> Tensor:
    """Distribution of norms (B, N) of rows or columns; `sums` of their entries, `length` of each."""
    norms = squares.sqrt() / _positive(squares.mean(1, True)).sqrt()
    norms, _ = norms.sort(1)
    lower, upper, weight = _quantile_places(norms.shape[1], norms.dtype)
    device = norms.device
    quantiles = torch.lerp(norms[:, lower.to(device)], norms[:, upper.to(device)], weight.to(device))
    offset = (sums.square() / _positive(squares)).mean(1, True) / length
    return torch.cat([quantiles, offset], 1)


@lru_cache(maxsize=256)
def _quantile_places(count: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    places = torch.tensor(QUANTILES, dtype=torch.float64) * (count - 1)
    return places.floor().long(), places.ceil().long(), (places - places.floor()).to(dtype)


def _taps(unit: Tensor, taps: Tensor, kernel: tuple[int, ...]) -> Tensor:
    """Energy (B, 5) in modes of order 0, 1, 2, in the central taps, and weighted by squared radius."""
    if taps.shape[1] == 1:
        return taps * torch.tensor([1, 0, 0, 1, 0], dtype=taps.dtype, device=taps.device)
    modes, orders, centre, radius = (part.to(unit) for part in _basis(kernel))
    energies = ((unit.mT @ unit @ modes) * modes).sum(1)
    return torch.cat([energies @ orders, (taps @ centre)[:, None], (taps @ radius)[:, None]], 1)


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


class _Blocks:
    """Block-diagonal matrices (B, G, O, N), to be multiplied with vectors again and again."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        small = matrix.shape[2] * matrix.shape[3] < _SMALL_BLOCK
        self._views = () if small or matrix.device.type != "cpu" else matrix.flatten(0, 1).unbind()
        self._transposed = tuple(view.T for view in self._views)

    def forth(self, vectors: Tensor) -> Tensor:
        """(B, G, N) to (B, G, O)."""
        return _products(self._matrix, self._views, vectors)

    def back(self, vectors: Tensor) -> Tensor:
        """(B, G, O) to (B, G, N)."""
        return _products(self._matrix.mT, self._transposed, vectors)


def _products(matrix: Tensor, views: Sequence[Tensor], vectors: Tensor) -> Tensor:
    if not views:
        return (matrix @ vectors[..., None])[..., 0]
    if len(views) == 1:
        return torch.mv(views[0], vectors.view(-1)).view(1, 1, -1)
    products = [
        torch.mv(view, vector) for view, vector in zip(views, vectors.flatten(0, 1).unbind(), strict=True)
    ]
    return torch.stack(products).view(*vectors.shape[:2], -1)


def _steps(blocks: _Blocks, start: Tensor, frobenius: Tensor) -> Tensor:
    """Singular values seen on the way (B, len(DECAY) + 1): power steps from the column norms (B, G, N).

    Vectors shrink by the squared Frobenius norm a step instead of being normalised, so that their
    lengths, which are all that is kept, can be taken together at the end.
    """
    energy = frobenius.square()[:, None, None]
    lefts, rights = [], [start / _positive(frobenius)[:, None, None]]
    for _ in range(STEPS):
        lefts.append(blocks.forth(rights[-1]))
        rights.append(blocks.back(lefts[-1]) / _positive(energy))
    left = torch.stack(lefts, 1).flatten(2).double().square().sum(2).sqrt()
    right = torch.stack(rights, 1).flatten(2).double().square().sum(2).sqrt()
    forth, back = left / _positive(right[:, :-1]), right[:, 1:] * energy[:, 0] / _positive(left)
    seen = torch.stack([forth, back], 2).flatten(1)
    alive = (seen > _VANISHED * frobenius[:, None]).cumprod(1)
    return (seen * alive)[:, [*DECAY, -1]].to(start.dtype)
