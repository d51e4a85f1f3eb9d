"""The table of rank correlations: real searches over cached runs, stored, judged on aligned scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.taught import pool
from training.benchmarks import ranking
from training.benchmarks.cached.dyhpo import Steps
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.judging import JudgedTask
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.rankers import ROWS, ByDyHPO, Trees
from training.benchmarks.cached.statistics import kendall
from training.worth.scores import Interval


@pytest.fixture(scope="module")
def judged() -> Pool:
    return pool("gtsrb", 3)


@pytest.mark.parametrize("name", ["scratch", "gp", "trees", "trees-no-weights"])
def test_what_was_seen_helps_to_rank_all_runs(judged: Pool, name: str) -> None:
    environment = Environment(judged, 100)
    predicted = ROWS[name].make(None)(environment, np.random.default_rng(0))
    assert predicted.shape == (len(judged.runs),)
    assert len(environment.history) == 100
    assert kendall(predicted, judged.finals()) > 0.4


def test_rows_of_a_seed_see_the_same_epochs_but_those_of_their_own_search(judged: Pool) -> None:
    seen = {}
    for name in ("scratch", "trees", "scratch-search"):
        environment = Environment(judged, 30)
        ROWS[name].make(None)(environment, np.random.default_rng(0))
        seen[name] = [(o.run, o.epoch) for o in environment.history]
    assert seen["scratch"] == seen["trees"] != seen["scratch-search"]
    assert {len(epochs) for epochs in seen.values()} == {30}


@pytest.mark.parametrize("curve", [True, False])
def test_dyhpo_ranks_with_and_without_the_curve(judged: Pool, curve: bool) -> None:
    ranker = ByDyHPO(Steps(first=60, later=5), curve)
    predicted = ranker(Environment(judged, 40), np.random.default_rng(0))
    assert kendall(predicted, judged.finals()) > 0.2


def test_dyhpo_without_the_curve_does_not_see_it(judged: Pool) -> None:
    with_curve, without = (
        ByDyHPO(Steps(first=60, later=5), curve)(Environment(judged, 40), np.random.default_rng(0))
        for curve in (True, False)
    )
    assert not np.array_equal(with_curve, without)


def test_chance_ranks_nothing(judged: Pool) -> None:
    taus = [
        kendall(ROWS["random"].make(None)(Environment(judged), np.random.default_rng(s)), judged.finals())
        for s in range(100)
    ]
    assert abs(np.mean(taus)) < 0.05


def test_trees_without_weights_do_not_see_them(judged: Pool) -> None:
    blind = Trees(frozenset({"weights"}))
    other = pool("gtsrb", 3)
    moved = Pool(other.hub, other.task, other.candidates, other.runs, sketches={}, start={})
    first, second = (blind(Environment(p, 30), np.random.default_rng(1)) for p in (judged, moved))
    assert np.array_equal(first, second)


def test_targets_compare_pairs_and_need_what_they_compare() -> None:
    taus = {
        ("fms", 50): {"a": [0.7, 0.7], "b": [0.5, 0.5]},
        ("dyhpo", 50): {"a": [0.5, 0.5], "b": [0.3, 0.3]},
        ("fms", 100): {"a": [0.8], "b": [0.7]},
        ("trees", 100): {"a": [0.9], "b": [0.8]},
    }
    found = {target.target: target for target in ranking.targets(taus, (50, 100), Interval(0.8, 0.7, 0.9))}
    by_start = {name[:12]: target for name, target in found.items()}
    assert by_start["tau at 100 e"].measured == pytest.approx(0.75 / 0.8)
    assert by_start["tau at 100 e"].met
    assert by_start["tau minus Dy"].measured == pytest.approx(0.2) and by_start["tau minus Dy"].met
    trees = next(target for name, target in found.items() if "trees" in name)
    assert trees.measured == pytest.approx(-0.1) and not trees.met
    gp = next(target for name, target in found.items() if " gp " in name)
    assert gp.measured is None and not gp.met


def test_a_stored_search_is_read_back_and_another_pool_is_not(tmp_path: Path, judged: Pool) -> None:
    row = ROWS["random"]
    task = JudgedTask("gtsrb", judged, None)
    settings = ranking._parse(["--hub", str(tmp_path), "--out", str(tmp_path), "--seeds", "2"])
    first = ranking._taus(row, task, 50, settings)
    (path,) = tmp_path.glob("*/gtsrb/random-50-0.json")
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"tau": 0.123}))
    assert ranking._taus(row, task, 50, settings) == [0.123, first[1]]
    fewer = JudgedTask("gtsrb", judged.only(range(20)), None)
    assert ranking._taus(row, fewer, 50, settings)[0] != 0.123
