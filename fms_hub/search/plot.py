"""A search to look at: what it trained, in which order, and how its runs went on. Drawn by plotly."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import OutputError, UsageError
from fms_hub.hub.logbook import read_history
from fms_hub.records import Observation

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

FILE_NAME: Final = "search.html"
_ORDER, _CURVES = 1, 2
"""Columns of the figure: epochs in the order of training, and curves of the runs."""


def figure_of(search: Sequence[Observation] | str | Path) -> Figure:
    """Two panels: every epoch in the order of training, with the best score so far; and the runs' curves.

    A colour is a candidate, a line a run; a click on a candidate hides it, and what one points at tells its
    hyperparameters.

    Args:
        search: observations, or the folder of a search or of imported runs.

    Raises:
        OutputError, CheckpointError: the folder holds no log, or a damaged one.
        UsageError: plotly is not installed, or there is no epoch.
    """
    if importlib.util.find_spec("plotly") is None:
        raise UsageError("a picture needs plotly, which is not installed: pip install 'fms_hub[plots]'.")
    history = read_history(Path(search)) if isinstance(search, str | Path) else tuple(search)
    if not history:
        raise UsageError("there is no epoch to draw yet; draw a search that has trained.")
    from plotly.colors import qualitative
    from plotly.graph_objects import Scatter
    from plotly.subplots import make_subplots

    figure = make_subplots(
        1, 2, shared_yaxes=True, horizontal_spacing=0.03, subplot_titles=("the search", "its runs")
    )
    for number, name in enumerate(sorted({o.candidate for o in history})):
        colour = qualitative.Dark24[number % len(qualitative.Dark24)]
        for column in (_ORDER, _CURVES):
            across, scores, told = _lines(history, name, column)
            lines = Scatter(
                x=across,
                y=scores,
                hovertext=told,
                hoverinfo="text",
                mode="lines+markers",
                line={"color": colour, "width": 1},
                marker={"size": 6},
                name=escape(name),
                legendgroup=name,
                showlegend=column == _ORDER,
            )
            figure.add_trace(lines, 1, column)
    best = Scatter(
        x=list(range(1, len(history) + 1)),
        y=best_so_far(history),
        mode="lines",
        line={"color": "black", "width": 2, "shape": "hv"},
        hoverinfo="y",
        name="best so far",
    )
    figure.add_trace(best, 1, _ORDER)
    failed = [(place, o) for place, o in enumerate(history, start=1) if o.score is None]
    if failed:
        crosses = Scatter(
            x=[place for place, _ in failed],
            y=[0.0] * len(failed),
            hovertext=[_told(o) for _, o in failed],
            hoverinfo="text",
            mode="markers",
            marker={"color": "crimson", "symbol": "x", "size": 8},
            name="failed",
        )
        figure.add_trace(crosses, 1, _ORDER)
    longest = max(o.epoch for o in history)
    figure.update_xaxes(title_text="epochs of the search", dtick=_ticks(len(history)), col=_ORDER)
    figure.update_xaxes(title_text="epochs of the run", dtick=_ticks(longest), col=_CURVES)
    figure.update_yaxes(title_text="validation score", col=_ORDER)
    figure.update_layout(template="plotly_white", height=600, legend={"orientation": "h", "y": -0.15})
    return figure


def _ticks(epochs: int) -> int:
    """Epochs from one tick to the next, so that there are at most ten."""
    return math.ceil(epochs / 10)


def best_so_far(history: Sequence[Observation]) -> list[float | None]:
    """The best score up to each epoch, None before there is any."""
    best: float | None = None
    found = []
    for observation in history:
        if observation.score is not None:
            best = observation.score if best is None else max(best, observation.score)
        found.append(best)
    return found


def write_plot(search: Sequence[Observation] | str | Path, path: str | Path) -> Path:
    """Write `figure_of` a search as one page that needs nothing else, neither network nor server (5 MB).

    Raises:
        UsageError: the path is no ``.html`` file.
        OutputError: it cannot be written.
        OutputError, CheckpointError, UsageError: as in `figure_of`.
    """
    target = Path(path)
    if target.suffix != ".html":
        raise UsageError(f"a picture is a page, so its name ends in .html; found {target}.")
    page = figure_of(search).to_html(include_plotlyjs=True, full_html=True, div_id="search")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, page.encode())
    except OSError as error:
        raise OutputError(f"cannot write {target}: {error}. Choose another file.") from error
    return target


def _lines(
    history: Sequence[Observation], candidate: str, column: int
) -> tuple[list[int | None], list[float | None], list[str | None]]:
    """Points of a candidate's runs, one run after the other, with a gap between two."""
    points = list(_points(history, candidate, column))
    return [p[0] for p in points], [p[1] for p in points], [p[2] for p in points]


def _points(
    history: Sequence[Observation], candidate: str, column: int
) -> Iterator[tuple[int | None, float | None, str | None]]:
    runs: dict[int, list[tuple[int, Observation]]] = {}
    for place, observation in enumerate(history, start=1):
        if observation.candidate == candidate and observation.score is not None:
            across = place if column == _ORDER else observation.epoch
            runs.setdefault(observation.run, []).append((across, observation))
    for run in runs.values():
        yield from ((across, observation.score, _told(observation)) for across, observation in run)
        yield (None, None, None)


def _told(observation: Observation) -> str:
    score = "failed" if observation.score is None else f"{observation.score:.4f}"
    lines = [
        f"run {observation.run}, epoch {observation.epoch} of {observation.horizon}: {score}",
        observation.candidate
        if observation.reason is None
        else f"{observation.candidate}: {observation.reason}",
        *(f"{name} = {value}" for name, value in sorted(observation.hyperparameters.items())),
    ]
    return "<br>".join(map(escape, lines))
