"""The benchmark of two objectives: what it counts, its methods, its store and its table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fms_hub.errors import UsageError
from fms_hub.search.tradeoff import Tradeoff
from fms_hub.surrogate.surrogate import Surrogate
from tests import taught
from training.benchmarks import objectives
from training.benchmarks.cached.costs import MEASURED, read_step_times
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.fronts import FRONT_METHODS, everything, latencies, shares
from training.benchmarks.cached.leaks import reads_the_future
from training.benchmarks.cached.methods import run
from training.benchmarks.objectives import FrontContest, FrontJob, rows, targets

WriteHub = Callable[..., Path]
POOL = taught.pool("usps", 3)
LATENCY = Tradeoff("latency", dict(zip(taught.CANDIDATES, (8.0, 2.0), strict=True)))


def test_latencies_are_those_of_a_step_for_one_image() -> None:
    times = read_step_times(MEASURED)
    found = latencies(POOL, times)
    assert found is not None
    # 0.0535 s and 0.03873 s for 16 images
    assert found.costs == pytest.approx(dict(zip(taught.CANDIDATES, (3.34375, 2.420625), strict=True)))
    alone = replace(POOL, runs=tuple(r for r in POOL.runs if r.candidate == taught.CANDIDATES[0]))
    assert latencies(alone, times) is None


def test_the_share_grows_to_one_where_everything_was_seen() -> None:
    history = everything(POOL)
    found = shares(POOL, history, LATENCY, len(history) + 3)
    assert (np.diff(found) >= 0).all()
    assert found[-4:] == pytest.approx([1.0] * 4)
    assert 0 <= found[0] < 1
    assert shares(POOL, (), LATENCY, 3).tolist() == [0.0] * 3


def test_a_share_counted_by_hand() -> None:
    """Gains are 1/2 and 1; guessing scores 1/4."""
    runs = tuple(
        replace(POOL.runs[number], scores=(score,), losses=(1.0,), horizon=1, reason=None)
        for number, score in ((0, 0.75), (1, 0.45))
    )
    pool = replace(POOL, runs=runs)
    history = everything(pool)
    # All: 0.5 x 1/2 + 0.2 x 1/2 = 0.35; the first run alone 0.25.
    assert shares(pool, history, LATENCY, 2) == pytest.approx([0.25 / 0.35, 1.0])
    assert shares(pool, history[::-1], LATENCY, 2) == pytest.approx([0.2 / 0.35, 1.0])


@pytest.mark.parametrize("name", FRONT_METHODS)
def test_methods_spend_the_budget_repeat_and_do_not_look_ahead(name: str) -> None:
    def search(environment: Environment, rng: np.random.Generator) -> None:
        FRONT_METHODS[name].make(LATENCY, Surrogate())(environment, rng)

    first, second = (run(search, Environment(POOL, 12), 5) for _ in range(2))
    assert first == second
    assert len(first) == 12
    assert not reads_the_future(search, POOL, 8)


def test_nsga2_is_told_both_objectives() -> None:
    """The dear candidate is no better here, so generations after the first have less of it."""
    levelled = tuple(replace(r, scores=(0.5,), losses=(1.0,), horizon=1, reason=None) for r in POOL.runs)
    pool = replace(POOL, runs=tuple(replace(r, id=f"{n}") for n, r in enumerate(levelled * 4)))
    dear = []
    for seed in range(8):
        history = run(FRONT_METHODS["nsga2"].make(LATENCY, Surrogate()), Environment(pool, 60), seed)
        dear += [o.candidate == taught.CANDIDATES[0] for o in history[30:]]
    assert np.mean(dear) < 0.35


def test_a_search_for_the_front_goes_another_way_than_one_for_the_score() -> None:
    dear = Tradeoff("latency", dict(zip(taught.CANDIDATES, (1000.0, 1.0), strict=True)))
    environments = [Environment(POOL, 14), Environment(POOL, 14)]
    weighed, alone = (
        run(FRONT_METHODS[name].make(dear, Surrogate()), environment, 1)
        for name, environment in zip(("fms-front", "fms-score"), environments, strict=True)
    )
    assert weighed[0] == alone[0]
    assert weighed != alone


def test_the_table_and_the_target_are_means_over_seeds(tmp_path: Path) -> None:
    methods = [FRONT_METHODS[name] for name in ("fms-front", "nsga2")]
    contest = FrontContest([FrontJob(POOL, LATENCY)], methods, 2, 8, tmp_path)
    ramp = np.arange(1, 9) / 10
    results = {("fms-front", "usps"): [ramp + 0.1, ramp + 0.2], ("nsga2", "usps"): [ramp, ramp]}
    table = rows(contest, results)
    assert [row.at for row in table[:4]] == ["2 epochs", "4 epochs", "6 epochs", "8 epochs"]
    assert [row.mean for row in table] == pytest.approx([0.35, 0.55, 0.75, 0.95, 0.2, 0.4, 0.6, 0.8])
    (target,) = targets(contest, results)
    assert target.measured == pytest.approx(0.1) and target.met
    swapped = {("fms-front", "usps"): [ramp, ramp], ("nsga2", "usps"): [ramp + 0.1, ramp]}
    assert not targets(contest, swapped)[0].met


def test_stored_searches_are_read_back_unless_something_is_another(tmp_path: Path) -> None:
    contest = FrontContest([FrontJob(POOL, LATENCY)], [FRONT_METHODS["random"]], 2, 9, tmp_path)
    first = contest.run()
    path = tmp_path / "timm-tiny" / "usps" / "random-0.json"
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "shares": [0.125] * 9}))
    assert contest.run()["random", "usps"][0].tolist() == [0.125] * 9
    dearer = Tradeoff("latency", {name: 3.0 ** len(name) for name in LATENCY.costs})
    assert replace(contest, jobs=[FrontJob(POOL, dearer)]).expected_seconds() > 0
    assert contest.run()["random", "usps"][1].tolist() == first["random", "usps"][1].tolist()
    assert [t.measured for t in targets(contest, first)] == [None]


def test_each_seed_searches_another_part_of_the_pool(tmp_path: Path) -> None:
    searched: list[list[str]] = []

    def note(environment: Environment, rng: np.random.Generator) -> None:
        searched.append([str(c.hyperparameters) for c in environment.configurations])

    method = replace(FRONT_METHODS["random"], make=lambda *_: note)
    FrontContest([FrontJob(POOL, LATENCY)], [method], 2, 9, tmp_path).run()
    assert [len(part) for part in searched] == [round(0.8 * len(POOL.runs))] * 2
    assert set(searched[0]) != set(searched[1])


def test_the_table_as_json(write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("cifar10", "gtsrb"), hub="timm-tiny")
    arguments = ["--hub", str(hub), "--out", str(tmp_path / "out"), "--methods", "nsga2,random"]
    objectives.main([*arguments, "--seeds", "2", "--budget", "12", "--json"])
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert "hours" in printed.err
    assert report["benchmark"] == "objectives"
    assert {row["n"] for row in report["rows"]} == {4}
    assert all(0 <= row["low"] <= row["mean"] <= row["high"] <= 1 for row in report["rows"])
    drawn = ElementTree.fromstring((tmp_path / "out" / "objectives.svg").read_text())
    lines = [line.get("points", "").split() for line in drawn.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(points) for points in lines] == [12] * 6  # both methods on all tasks and on each


def test_a_hub_of_one_architecture_is_refused(write_hub: WriteHub, tmp_path: Path) -> None:
    hub = write_hub(tmp_path / "hub", ("cifar10",))
    with pytest.raises(UsageError, match="differ in latency"):
        objectives.main(["--hub", str(hub), "--quick"])


@pytest.mark.parametrize("arguments", [["--methods", "best"], ["--quick", "--split", "meta-test"]])
def test_arguments_that_cannot_be_are_refused(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        objectives.main(["--hub", str(tmp_path), *arguments])
