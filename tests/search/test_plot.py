"""A search as a page: what it draws, by the numbers in it, and what it says where it cannot."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fms_hub.cli import main
from fms_hub.errors import OutputError, UsageError
from fms_hub.hub.logbook import Logbook
from fms_hub.records import Observation
from fms_hub.search.plot import best_so_far, figure_of, write_plot


def epoch(run: int, number: int, score: float | None, candidate: str = "a") -> Observation:
    failed = {} if score is not None else {"status": "failed", "reason": "diverged"}
    return Observation(run, candidate, {"learning_rate": 0.1}, number, 3, score, seconds=1.0, **failed)


HISTORY = (
    epoch(0, 1, 0.3),
    epoch(1, 1, 0.6, "<b>"),
    epoch(0, 2, 0.5),
    epoch(2, 1, 0.2),
    epoch(1, 2, None, "<b>"),
)


def test_the_best_so_far_by_hand() -> None:
    assert best_so_far(HISTORY) == [0.3, 0.6, 0.6, 0.6, 0.6]
    assert best_so_far([HISTORY[4], HISTORY[0]]) == [None, 0.3]


def test_a_line_is_a_run_and_a_colour_a_candidate() -> None:
    drawn = {(trace.name, trace.xaxis): trace for trace in figure_of(HISTORY).data}
    assert set(drawn) == {
        ("a", "x"), ("a", "x2"), ("&lt;b&gt;", "x"), ("&lt;b&gt;", "x2"),
        ("best so far", "x"), ("failed", "x"),
    }  # fmt: skip
    assert drawn["a", "x"].x == (1, 3, None, 4, None)  # in the order of the search
    assert drawn["a", "x2"].x == (1, 2, None, 1, None)  # in that of each run
    assert drawn["a", "x"].y == drawn["a", "x2"].y == (0.3, 0.5, None, 0.2, None)
    assert drawn["a", "x"].line.color == drawn["a", "x2"].line.color != drawn["&lt;b&gt;", "x"].line.color
    assert drawn["a", "x"].hovertext[1] == "run 0, epoch 2 of 3: 0.5000<br>a<br>learning_rate = 0.1"
    assert drawn["failed", "x"].x == (5,)
    assert drawn["failed", "x"].hovertext[0].startswith("run 1, epoch 2 of 3: failed<br>&lt;b&gt;: diverged")
    assert "failed" not in {trace.name for trace in figure_of(HISTORY[:4]).data}


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    page = write_plot(HISTORY, tmp_path / "new" / "page.html")
    text = page.read_text()
    assert page == tmp_path / "new" / "page.html" and 'id="search"' in text
    assert "<script src" not in text and "cdn" not in text.split("plotly.js v")[0]
    assert write_plot(HISTORY, page).read_text() == text  # nothing random in it


def test_what_cannot_be_drawn_or_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no epoch to draw yet"):
        figure_of([])
    with pytest.raises(UsageError, match=r"ends in \.html; found page\.png"):
        write_plot(HISTORY, "page.png")
    with pytest.raises(OutputError, match="holds no logbook"):
        figure_of(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*page\.html"):
        write_plot(HISTORY, tmp_path / "file" / "page.html")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'fms_hub\[plots\]'"):
        figure_of(HISTORY)


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Logbook(tmp_path / "search", {}) as log:
        for observation in HISTORY:
            log.append(replace(observation, candidate="a" if observation.run != 1 else "b"))
    for options, page in ((["--json"], "search/search.html"), (["--out", "other.html"], "other.html")):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["fms-hub", "plot", "search", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        captured = capsys.readouterr()
        told = json.loads(captured.out) if "--json" in options else captured.out.strip()
        assert told == ({"page": page, "runs": 3, "epochs": 5} if "--json" in options else page)
        assert captured.err == "" and Path(page).is_file()
    monkeypatch.setattr("sys.argv", ["fms-hub", "plot", "nowhere"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and "nowhere" in capsys.readouterr().err
