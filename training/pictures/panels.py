"""Pictures of curves as SVG, drawn without any library: small panels side by side, one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

COLOURS = (
    "#36c", "#c22", "#282", "#b70", "#828", "#555", "#0aa", "#e6a", "#7a3", "#a64", "#66f", "#000",
)  # fmt: skip
_WIDTH, _HEIGHT, _GAP, _LEFT, _TOP, _COLUMNS = 240, 150, 60, 50, 44, 3
_KEY, _LINE = 150, 16
"""Width and height of an entry of the legend."""

Curve = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Attributes:
        title: what is drawn.
        curves: points (x, y) by what the legend calls them, several curves of the same name allowed.
        across: what x is.
    """

    title: str
    curves: Mapping[str, Sequence[Curve]]
    across: str


def panels(title: str, drawn: Sequence[Panel]) -> str:
    """The SVG's text; every panel scales itself to its curves.

    Raises:
        ValueError: a panel has no point.
    """
    columns = min(_COLUMNS, len(drawn))
    width = _LEFT + columns * (_WIDTH + _GAP)
    names = list(dict.fromkeys(name for panel in drawn for name in panel.curves))
    keys = max(1, (width - _LEFT) // _KEY)
    top = _TOP + _LINE * -(-len(names) // keys)
    height = top + -(-len(drawn) // columns) * (_HEIGHT + _GAP)
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="18" font-size="13">{escape(title)}</text>',
    ]
    for index, name in enumerate(names):
        x, y = _LEFT + _KEY * (index % keys), 34 + _LINE * (index // keys)
        parts.append(
            f'<line x1="{x}" x2="{x + 20}" y1="{y}" y2="{y}" stroke="{colours[name]}" stroke-width="2"/>'
        )
        parts.append(f'<text x="{x + 25}" y="{y + 4}">{escape(name)}</text>')
    for index, panel in enumerate(drawn):
        row, column = divmod(index, columns)
        parts += _panel(panel, colours, _LEFT + column * (_WIDTH + _GAP), top + row * (_HEIGHT + _GAP))
    return "\n".join([*parts, "</svg>", ""])


def by_task(title: str, found: Mapping[str, Mapping[str, Sequence[NDArray[np.float64]]]]) -> str:
    """Means against epochs, over all tasks and on each.

    Args:
        title: of the picture.
        found: by method and task, what each search had after 1, 2 ... epochs; all methods on the same tasks.
    """

    def panel(name: str, tasks: Sequence[str]) -> Panel:
        curves = {method: [_mean([c for task in tasks for c in of[task]])] for method, of in found.items()}
        return Panel(name, curves, "epochs")

    tasks = list(dict.fromkeys(task for of in found.values() for task in of))
    return panels(title, [panel("all tasks", tasks), *(panel(task, [task]) for task in tasks)])


def _mean(searches: Sequence[NDArray[np.float64]]) -> list[tuple[float, float]]:
    return [(epoch + 1.0, float(value)) for epoch, value in enumerate(np.mean(searches, axis=0))]


def _panel(panel: Panel, colours: Mapping[str, str], left: float, top: float) -> list[str]:
    points = [point for curves in panel.curves.values() for curve in curves for point in curve]
    if not points:
        raise ValueError(f"the panel {panel.title!r} has no points to draw")
    (low_x, high_x), (low_y, high_y) = (_range([point[axis] for point in points]) for axis in (0, 1))

    def at(x: float, y: float) -> str:
        across = left + _WIDTH * (x - low_x) / (high_x - low_x)
        return f"{across:.1f},{top + _HEIGHT * (high_y - y) / (high_y - low_y):.1f}"

    parts = [
        f'<rect x="{left}" y="{top}" width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="#bbb"/>',
        f'<text x="{left}" y="{top - 5}">{escape(panel.title)}</text>',
        f'<text x="{left - 4}" y="{top + 9}" text-anchor="end" fill="#555">{high_y:.3g}</text>',
        f'<text x="{left - 4}" y="{top + _HEIGHT}" text-anchor="end" fill="#555">{low_y:.3g}</text>',
        f'<text x="{left}" y="{top + _HEIGHT + 14}" fill="#555">{low_x:.3g}</text>',
        f'<text x="{left + _WIDTH}" y="{top + _HEIGHT + 14}" text-anchor="end" fill="#555">'
        f"{high_x:.3g} {escape(panel.across)}</text>",
    ]
    for name, curves in panel.curves.items():
        for curve in curves:
            line = " ".join(at(x, y) for x, y in curve)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="1.5"/>'
            )
    return parts


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
