"""`select` for a front of score and cost, and with limits on candidates: real networks, real images."""

import json
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace
from sklearn.datasets import load_digits

import fms_hub
from fms_hub.cli import leaderboard
from fms_hub.errors import CandidateError, ResumeError, UsageError
from fms_hub.hub.logbook import FILE_NAME, read_identity
from fms_hub.search.measuring import read_costs
from fms_hub.tasks.task import Task, task_from_arrays

CANDIDATES = ["scratch:test_resnet", "scratch:test_vit", "scratch:test_convnext"]
SPACE = ConfigurationSpace({"learning_rate": (1e-4, 1e-2)}, seed=0)


@pytest.fixture(scope="module")
def task() -> Task:
    scans = load_digits()
    pixels = np.clip(scans.images[:240] * 16, 0, 255).astype(np.uint8)
    return task_from_arrays("digits", [str(c) for c in range(10)], train=(pixels, scans.target[:240]))


def search(task: Task, out: Path, budget: str = "6 epochs", **changes: object) -> fms_hub.Selection:
    settings: dict[str, object] = {
        "max_epochs": 2,
        "image_size": 32,
        "progress": False,
        "space": SPACE,
        "surrogate": "scratch",
        "objectives": ("score", "latency"),
    }
    return fms_hub.select(task, CANDIDATES, budget=budget, out=out, **{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def selection(task: Task, tmp_path_factory: pytest.TempPathFactory) -> fms_hub.Selection:
    return search(task, tmp_path_factory.mktemp("front") / "out", keep_checkpoints=1)


def test_the_front_is_what_nobody_beats_and_its_networks_score_what_it_says(
    selection: fms_hub.Selection, task: Task
) -> None:
    measured = read_costs(selection.out)
    assert measured is not None
    points = [(o.score, measured.costs[o.candidate]["latency"]) for o in selection.history]
    for point in selection.front:
        own = (point.score, point.costs["latency"])
        assert own in points
        assert not any(s >= own[0] and c <= own[1] and (s, c) != own for s, c in points)  # type: ignore[operator]
    scores = [point.score for point in selection.front]
    assert scores == sorted(scores, reverse=True)
    assert (selection.best.run, selection.best.score) == (selection.front[0].run, scores[0])
    cheapest = selection.front[-1]
    probabilities = selection._trainer.predict(
        selection._candidates[cheapest.candidate],
        cheapest.hyperparameters,
        selection.out / cheapest.checkpoint,
        task.validation.images,
    )
    assert (probabilities.argmax(axis=1) == task.validation.labels).mean() == pytest.approx(cheapest.score)
    assert not selection.load(cheapest).training


def test_table_json_and_log_tell_the_costs(selection: fms_hub.Selection) -> None:
    board = selection.leaderboard()
    told = json.loads(json.dumps(selection.to_json()))
    assert (board["latency_ms"] > 0).all()
    assert [row["latency_ms"] for row in told["leaderboard"]] == board["latency_ms"].tolist()
    assert [point["candidate"] for point in told["front"]] == [p.candidate for p in selection.front]
    shown = {"candidate", "hyperparameters", "score", "epochs", "run", "latency_ms"}
    assert set(told["front"][0]) == shown
    identity = read_identity(selection.out)
    assert (identity["objectives"], identity["device"]) == ("score, latency", "cpu")
    front = leaderboard.told(selection).partition("\nfront:\n")[2]
    assert selection.front[0].candidate in front.partition("\nbest ")[0]


def test_going_on_measures_nothing_anew_and_trains_nothing(selection: fms_hub.Selection, task: Task) -> None:
    files = {name: (selection.out / name).read_bytes() for name in (FILE_NAME, "costs.json")}
    again = search(task, selection.out, keep_checkpoints=1)
    assert again.front == selection.front
    assert {name: (selection.out / name).read_bytes() for name in files} == files
    with pytest.raises(ResumeError, match="objectives"):
        search(task, selection.out, objectives=("score",))


def test_limits_leave_candidates_out_before_anything_is_trained(task: Task, tmp_path: Path) -> None:
    found = search(
        task, tmp_path, "3 epochs", objectives=("score",), max_parameters="370k", max_latency="10s"
    )  # fmt: skip
    assert {o.candidate for o in found.history} <= {"scratch:test_convnext", "scratch:test_vit"}
    assert (found.leaderboard()["parameters"] <= 370_000).all()
    assert [(p.run, p.score) for p in found.front] == [(found.best.run, found.best.score)]
    assert "front" not in found.to_json()
    assert read_identity(tmp_path)["max_parameters"] == "370000"


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"max_parameters": 1000}, CandidateError, "max_parameters of 1,000 is kept by none"),
        ({"max_latency": "0.01us"}, CandidateError, "max_latency of 1e-05 ms is kept by none"),
        ({"objectives": ("score", "price")}, UsageError, "objectives are"),
        ({"objectives": ("score", "peak_memory"), "device": "cpu"}, UsageError, "CUDA devices only"),
        ({"acquisition": "running-max"}, UsageError, "several objectives need acquisition"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    task: Task, tmp_path: Path, changes: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        search(task, tmp_path / "out", "6 epochs", **changes)
    assert not (tmp_path / "out").exists()
