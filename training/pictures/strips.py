"""A picture of distributions in [0, 1] as SVG: one strip a row, drawn without any library."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

_WIDTH, _LEFT, _RIGHT, _STRIP, _TOP = 860, 240, 20, 26, 40
_JITTER = 8.0


def strips(rows: Mapping[str, Sequence[float]], marks: Mapping[str, float], title: str) -> str:
    """Draw each row's values as dots, with its median and quartiles.

    Args:
        rows: values in [0, 1] by what they are called.
        marks: one further value of a row, drawn as a red line.
        title: what the values are.

    Returns:
        The SVG's text.
    """
    height = _TOP + _STRIP * len(rows) + 30
    legend = "bar: quartiles" + (", red: best linear probe" if marks else "")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" '
        f'viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="20">{escape(title)} ; {legend}</text>',
    ]
    parts += [_gridline(tick / 5, height) for tick in range(6)]
    for i, (name, values) in enumerate(rows.items()):
        parts += _strip(name, values, marks.get(name), _TOP + _STRIP * (i + 0.5))
    return "\n".join([*parts, "</svg>", ""])


def _at(value: float) -> float:
    return _LEFT + value * (_WIDTH - _LEFT - _RIGHT)


def _gridline(value: float, height: int) -> str:
    x = _at(value)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - 28}" stroke="#ddd"/>'
        f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle" fill="#555">{value:.1f}</text>'
    )


def _strip(name: str, values: Sequence[float], mark: float | None, y: float) -> list[str]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    heights = y + _JITTER * np.random.default_rng(seed).uniform(-1, 1, len(values))
    dots = "".join(
        f'<circle cx="{_at(value):.1f}" cy="{dot:.1f}" r="1.5"/>'
        for value, dot in zip(values, heights, strict=True)
    )
    low, middle, high = (_at(float(q)) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    parts = [
        f'<text x="{_LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(name)} ({len(values)})</text>',
        f'<g fill="#36c" fill-opacity="0.35">{dots}</g>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="#222" stroke-width="2"/>',
        f'<circle cx="{middle:.1f}" cy="{y:.1f}" r="4" fill="#222"/>',
    ]
    if mark is not None:
        x = _at(mark)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y - 11:.1f}" y2="{y + 11:.1f}" stroke="#c22" '
            'stroke-width="2"/>'
        )
    return parts
