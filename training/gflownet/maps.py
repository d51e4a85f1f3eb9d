"""Maps of a grid as SVG: its scores, and how often methods draw each cell."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

from training.gflownet.feed_forward import Grid

_CELL, _GAP, _LEFT, _TOP = 14, 16, 190, 60
_DARK = np.array([20, 60, 140])


def maps(grid: Grid, drawn: Mapping[str, NDArray[np.int64]]) -> str:
    """One row of maps for the scores and one for each method, one column for each epoch count.

    In a map learning rates go right and batch sizes down. Darker is better, or drawn more often.

    Args:
        grid: of the scores.
        drawn: cells (n, 3) by the method's name.

    Returns:
        The SVG's text.
    """
    layers = {"true accuracy": grid.scores, **{name: _counts(grid, cells) for name, cells in drawn.items()}}
    across, down = len(grid.rates) * _CELL + _GAP, len(grid.batches) * _CELL + _GAP
    width, height = _LEFT + across * len(grid.epochs), _TOP + down * len(layers)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="20">{escape(_title(grid))}</text>',
    ]
    for column, epochs in enumerate(grid.epochs):
        said = f"{epochs} epoch{'' if epochs == 1 else 's'}"
        parts.append(f'<text x="{_LEFT + column * across}" y="{_TOP - 8}">{said}</text>')
    for row, (name, values) in enumerate(layers.items()):
        y = _TOP + row * down
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + down / 2 - 4:.0f}" text-anchor="end">{escape(name)}</text>'
        )
        for column in range(len(grid.epochs)):
            parts.append(_map(values[:, :, column], float(values.max()), _LEFT + column * across, y))
    return "\n".join([*parts, "</svg>", ""])


def _title(grid: Grid) -> str:
    rates = f"learning rate {grid.rates[0]:g} to {grid.rates[-1]:g} to the right"
    batches = f"batch size {grid.batches[0]} to {grid.batches[-1]} down"
    return f"{grid.name}: {rates}, {batches}; darker is more"


def _counts(grid: Grid, cells: NDArray[np.int64]) -> NDArray[np.float64]:
    counts = np.zeros(grid.scores.shape)
    np.add.at(counts, tuple(cells.T), 1.0)
    return counts


def _map(values: NDArray[np.float64], most: float, x: float, y: float) -> str:
    """Values (R, B) as squares, white at 0."""
    squares = []
    for (rate, batch), value in np.ndenumerate(values):
        red, green, blue = np.round(255 + (_DARK - 255) * value / most).astype(int)
        squares.append(
            f'<rect x="{x + rate * _CELL:.0f}" y="{y + batch * _CELL:.0f}" width="{_CELL}" height="{_CELL}" '
            f'fill="rgb({red},{green},{blue})" stroke="#ddd" stroke-width="0.5"/>'
        )
    return "".join(squares)
