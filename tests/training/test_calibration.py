"""The table of calibration: coverage worked by hand, and of real surrogates on taught pools."""

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy import stats

from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate
from tests.taught import pool, surrogate
from training.benchmarks import calibration
from training.benchmarks.cached.trust import LEVELS, Trust, after_search
from training.benchmarks.calibration import OURS, targets
from training.meta.table import Table, table_of

WriteHub = Callable[..., Path]


@pytest.fixture(scope="module")
def table() -> Table:
    return table_of(pool("gtsrb", 3))


def test_intervals_and_surprise_by_hand() -> None:
    believed = Posterior(np.array([0.5, 0.5, 0.5]), np.array([0.1, 0.1, 0.2]))
    scores = np.array([0.56, 0.66, 0.9])
    trust = Trust.of(believed, scores)
    # The central 50 % reach 0.674 deviations, 70 % 1.036, 90 % 1.645; off are 0.6, 1.6 and 2.
    assert LEVELS[2:] == (0.5, 0.7, 0.9)
    assert trust.covered[:, 2:].tolist() == [[True, True, True], [False, False, True], [False, False, False]]
    densities = -stats.norm(believed.mean, believed.std).logpdf(scores)
    np.testing.assert_allclose(trust.surprise, densities)
    numbers = trust.numbers(np.array([True, True, False]))
    assert numbers == {
        **{"10 %": 0.0, "30 %": 0.0, "50 %": 0.5, "70 %": 0.5, "90 %": 1.0},
        "surprise": pytest.approx(densities[:2].mean()),
    }
    assert trust.numbers(np.zeros(3, dtype=bool)) == {}


def test_a_normal_world_is_covered_as_it_says() -> None:
    rng = np.random.default_rng(0)
    deviations = rng.uniform(0.1, 2.0, 20_000)
    trust = Trust.of(Posterior(np.zeros(20_000), deviations), rng.normal(0, deviations))
    assert trust.covered.mean(0) == pytest.approx(LEVELS, abs=0.01)


def test_before_a_search_nothing_is_seen(table: Table) -> None:
    found = after_search(surrogate(), table, 0, np.random.default_rng(0))
    assert {name.split("/")[0] for name in found} == {"all", "0"}
    assert all(found[f"all/{name}"] == found[f"0/{name}"] for name in ("50 %", "90 %", "surprise"))


@pytest.mark.parametrize("from_scratch", [True, False])
def test_what_was_seen_makes_ends_less_surprising(table: Table, from_scratch: bool) -> None:
    start = Surrogate() if from_scratch else surrogate()
    found = after_search(start, table, 60, np.random.default_rng(0))
    assert {"all/90 %", "0/90 %", "4/surprise"} <= set(found)
    assert "8/90 %" not in found  # runs are of six epochs
    assert all(0 <= found[name] <= 1 for name in found if name.endswith("%"))
    if from_scratch:
        assert found["4/surprise"] < found["0/surprise"]
    else:
        before = after_search(start, table, 0, np.random.default_rng(0))
        assert found["all/surprise"] < before["all/surprise"]
    assert found["all/50 %"] <= found["all/90 %"]


def test_a_search_that_finished_everything_leaves_nothing_to_ask(table: Table) -> None:
    assert after_search(surrogate(), table, 10_000, np.random.default_rng(0)) == {}


def test_targets_are_two_sided() -> None:
    found = {
        (OURS, 0, "all/90 %"): {"a": [0.8, 0.9]},
        (OURS, 50, "all/90 %"): {"a": [0.9, 0.88]},
        (OURS, 0, "0/90 %"): {"a": [1.0]},
    }
    by_name = {target.target.rpartition(", ")[2]: target for target in targets(found)}
    assert by_name["over everything"].measured == pytest.approx(0.03) and by_name["over everything"].met
    assert by_name["with 0 epochs seen"].measured == pytest.approx(0.1)
    assert not by_name["with 0 epochs seen"].met
    assert by_name["with 8 epochs seen"].measured is None and not by_name["with 8 epochs seen"].met


def test_the_table_of_a_hub(write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb", "usps"), count=12, hub="timm-tiny")
    surrogate().save(tmp_path / "without-traffic_signs.safetensors")
    arguments = ["--hub", str(hub), "--surrogates", str(tmp_path), "--out", str(tmp_path / "out"), "--quick"]
    calibration.main([*arguments, "--json"])
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert "hours" in printed.err
    # A hundred epochs finish all runs of these pools, and from scratch nothing is said before the first.
    assert {(row["method"], row["at"]) for row in report["rows"] if ":" in row["method"]} == {
        ("fms: ours, meta-trained", "0 epochs"),
        ("fms: ours, meta-trained", "50 epochs"),
        ("scratch: additive kernels, this search alone", "50 epochs"),
    }
    assert {row["at"] for row in report["rows"] if row["method"] == "fms, 1 seen"} == {"50 epochs"}
    assert all(0 <= row["mean"] <= 1 for row in report["rows"] if "share" in row["metric"])
    drawn = ElementTree.parse(tmp_path / "out" / "calibration.svg").getroot()
    # In three panels what is exact, ours before and after 50 epochs, scratch after 50.
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 3 + 2 + 1
    calibration.main([*arguments, "--json"])
    assert capsys.readouterr().out == printed.out
