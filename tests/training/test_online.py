from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.finetune.self_tuning.network import responding
from training.benchmarks.online.images import SmallNet
from training.benchmarks.online.searches import SEARCHES, started_at
from training.benchmarks.online.telling import apart, best_so_far, less, losses, rows_of, schedules
from training.benchmarks.online.text import WINDOW, Text
from training.benchmarks.online.training import (
    Clock,
    Point,
    Run,
    constant,
    replayed,
    train_fixed,
    train_tuned,
    values_of,
)
from training.benchmarks.self_tuning import expected_hours, kept
from training.pictures.panels import Panel, panels


@pytest.fixture(scope="module")
def text() -> Text:
    problem = Text(quick=True)
    problem.epochs = 2
    return problem


def test_the_parts_of_the_text_are_apart_and_labels_are_the_next_characters(text):
    parts = text.data
    assert {part: len(data) for part, data in parts.items()} == {"train": 128, "validation": 64, "test": 64}
    for data in parts.values():
        assert data.inputs.shape[1] == WINDOW
        assert torch.equal(data.inputs[:, 1:], data.labels[:, :-1])
    rows = {part: {tuple(row.tolist()) for row in data.inputs} for part, data in parts.items()}
    assert not rows["train"] & rows["test"]
    assert not rows["train"] & rows["validation"]


def test_fixed_runs_learn_repeat_and_feel_their_hyperparameters(text):
    run, again = (train_fixed(text, constant(text.defaults()), 1, Clock(), math.inf) for _ in range(2))
    strong = constant([5.0] * 5 + text.defaults()[5:])
    hindered = train_fixed(text, strong, 1, Clock(), math.inf)
    assert [p.validation for p in run.points] == [p.validation for p in again.points]
    assert run.points[-1].validation < run.points[0].validation
    assert run.points[-1].validation < hindered.points[-1].validation - 0.05
    assert run.points[0].seconds < run.points[1].seconds


def test_a_search_stops_after_the_epoch_in_which_its_time_is_up(text):
    run = train_fixed(text, constant(text.defaults()), 1, Clock(), 0.0)
    assert len(run.points) == len(run.schedule) == 1


def test_the_activity_adds_to_the_loss_of_its_own_pass_alone(text):
    network = text.network(0)
    inputs = text.data["train"].inputs[:4]
    zeros = {tunable.name: torch.zeros(4) for tunable in text.tunables}
    with torch.no_grad():
        network.values = zeros | {"activity": torch.full((4,), 2.0)}
        network(inputs)
        first, second = network.penalty(), network.penalty()
        network.values = zeros | {"activity": torch.full((4,), 6.0)}
        network(inputs)
    assert float(first) > 0
    assert second == 0.0
    assert float(network.penalty()) == pytest.approx(3 * float(first), rel=1e-5)


def test_self_tuning_runs_move_from_where_they_start_and_repeat(text):
    tunables = started_at(text, 0.5)
    run, again = (train_tuned(text, tunables, 1, Clock(), math.inf) for _ in range(2))
    assert run.schedule == again.schedule
    assert run.schedule[0] == pytest.approx([0.0] * 7, abs=1e-6)
    assert all(abs(value) > 1e-3 for value in run.schedule[-1])
    assert run.points[-1].validation < run.points[0].validation
    values = values_of(text.tunables, run.schedule[0])
    assert values["word_dropout"] == pytest.approx(0.475)
    assert values["activity"] == pytest.approx((1e-4 * 10) ** 0.5, rel=1e-4)


@pytest.mark.parametrize("network", [SmallNet(10), Text(quick=True).network(0)], ids=["images", "text"])
def test_every_linear_map_and_convolution_responds(network):
    tunable = Tunable("dropout", 0.0, 1.0, 0.5)
    small = isinstance(network, SmallNet)
    examples = torch.randn(3, 3, 32, 32) if small else torch.randint(0, 50, (3, WINDOW))
    tuning = responding(network, examples, [tunable])
    kinds = [type(part).__name__ for part in tuning.network.modules()]
    assert (kinds.count("HyperConv2d"), kinds.count("HyperLinear")) == ((3, 2) if small else (0, 5))
    assert not {"Conv2d", "Linear"} & set(kinds)


@pytest.mark.parametrize("name", SEARCHES)
def test_each_search_spends_its_time_and_trains_other_runs_each_time(text, name):
    text.epochs, clock = 1, Clock()
    train_tuned(text, text.tunables, 0, clock, math.inf)
    seconds = 1.5 * clock.spent
    runs = SEARCHES[name](text, 0, seconds)
    text.epochs = 2
    assert runs[-1].points[-1].seconds >= seconds
    assert all(run.points[-1].seconds < seconds for run in runs[:-1])
    assert runs[0].schedule[0] == pytest.approx(text.defaults(), abs=1e-4)  # all begin at the defaults
    first = [tuple(run.schedule[0]) for run in runs]
    assert len(runs) > 1
    assert len(set(first)) == len(first)


def test_a_schedule_is_replayed_at_the_same_share_of_the_run():
    policy = replayed([[0.0, 4.0], [2.0, 4.0], [3.0, 0.0]])
    assert policy(0.0).tolist() == [0.0, 4.0]
    assert policy(1 / 6).tolist() == pytest.approx([1.0, 4.0])
    assert policy(2 / 3).tolist() == [3.0, 0.0]
    assert policy(1.0).tolist() == [3.0, 0.0]


def test_starts_that_meet_are_told_from_those_that_stay_apart(text):
    def run(*schedule: float) -> Run:
        return Run([], [[value] * 7 for value in schedule])

    seeds = [{"low": run(-2.0, 0.0), "high": run(2.0, 1.0)}, {"low": run(0.0, 3.0), "high": run(2.0, 3.0)}]
    rows = apart(text, seeds)
    assert [row["method"] for row in rows] == [tunable.name for tunable in text.tunables]
    assert [row["mean"] for row in rows] == pytest.approx([0.125] * 7)


def test_what_is_stored_takes_no_more_hours(tmp_path):
    everything = expected_hours(3600.0, tmp_path, seeds=2, runs=8)
    assert everything == pytest.approx(2 * (4 * 8 + 3 * 2.4 + 3))
    (tmp_path / "grid-1.json").touch()
    assert expected_hours(3600.0, tmp_path, seeds=2, runs=8) == pytest.approx(everything - 8)


def point(seconds: float, validation: float) -> Point:
    return Point(seconds, validation, validation + 1, 0.5)


def test_the_best_so_far_goes_by_the_clock_over_all_runs():
    runs = [Run([point(1, 3.0), point(4, 1.0)]), Run([point(2, 2.0), point(3, 2.5)])]
    assert [(p.seconds, p.validation) for p in best_so_far(runs)] == [(1, 3.0), (2, 2.0), (4, 1.0)]
    rows = rows_of({"grid": [best_so_far(runs), [point(1, 3.0)]]})
    assert [(row["metric"], row["mean"]) for row in rows] == [
        ("validation loss", 2.0),
        ("test loss", 3.0),
        ("test accuracy", 0.5),
    ]


def test_methods_are_compared_seed_by_seed() -> None:
    found = {"grid": [[point(1, 3.0)], [point(1, 5.0)]], "tuned": [[point(1, 2.5)], [point(1, 4.0)]]}
    rows = {row["metric"]: row for row in less(found, "tuned")}
    assert len(rows) == 3 and rows["validation loss"]["method"] == "tuned less grid"
    assert rows["validation loss"]["mean"] == pytest.approx(-0.75)
    assert rows["validation loss"]["high"] == pytest.approx(-0.75 + 12.706 * 0.25, rel=1e-3)


def test_finished_runs_are_read_back(tmp_path: Path):
    made = {"0": Run([point(1, 2.0)], [[0.5]])}
    assert kept(tmp_path / "a" / "x.json", lambda: made) == made
    assert kept(tmp_path / "a" / "x.json", lambda: pytest.fail("trained again")) == made


def test_pictures_are_svg_with_a_line_for_each_curve(text):
    run = Run([point(1, 3.0), point(2, 2.0)], [text.defaults(), text.defaults()])
    space = "{http://www.w3.org/2000/svg}"
    drawn = ElementTree.fromstring(schedules(text, {"low": run, "high": run}))
    assert len(drawn.findall(f"{space}polyline")) == 14
    drawn = ElementTree.fromstring(losses(text, {"grid": [run.points], "a & b": [run.points, run.points]}))
    assert len(drawn.findall(f"{space}polyline")) == 9
    drawn = ElementTree.fromstring(losses(text, {"grid": [run.points], "soon best": [run.points[:1]]}))
    ends = [line.attrib["points"].split()[-1].split(",")[0] for line in drawn.findall(f"{space}polyline")]
    assert len(ends) == 6 and len(set(ends)) == 3, "each panel's lines go on to the end of the search"
    with pytest.raises(ValueError, match="'empty' has no points"):
        panels("x", [Panel("empty", {}, "s")])
