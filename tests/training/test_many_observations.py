"""The table of many observations: who is held out, what each way is told, and the table of a real hub."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fms_hub.errors import UsageError
from tests.taught import pool, surrogate
from training.benchmarks import many_observations
from training.benchmarks.many_observations import SHARE, USUAL, WAYS, foreseen, split, targets
from training.meta.episodes import seen_rows
from training.meta.table import Table, table_of

WriteHub = Callable[..., Path]


@pytest.fixture(scope="module")
def table() -> Table:
    return table_of(pool("gtsrb", 3))


def test_what_is_told_is_as_much_as_was_asked_for_and_nothing_of_who_is_held_out(table: Table) -> None:
    held, reached = split(table, 100, np.random.default_rng(0))
    assert len(held) == 8 and set(held) <= set(table.finished)  # a fifth of 39, the fortieth having failed
    assert (reached[held] == 0).all() and reached.sum() == 100
    under_way = (reached > 0) & (reached < table.epochs)
    assert under_way.sum() == 1  # whole runs, but for the last
    again, _ = split(table, 100, np.random.default_rng(1))
    assert set(again) != set(held)


def test_a_pool_with_too_few_epochs_says_nothing(table: Table) -> None:
    assert foreseen(surrogate(), table, 10_000, np.random.default_rng(0)) == {}


def test_each_way_is_told_what_it_says(table: Table) -> None:
    _, reached = split(table, 190, np.random.default_rng(0))
    rows = seen_rows(table, reached)
    inputs, scores = table.inputs.rows(rows), table.scores[rows]
    usual = WAYS[USUAL](surrogate(), inputs, scores).posterior(inputs)
    exact = WAYS["exact"](surrogate(), inputs, scores).posterior(inputs)
    assert len(rows) < 512
    # So few rows are told exactly, and an even share of them is all of them.
    np.testing.assert_array_equal(usual.mean, exact.mean)
    shared = WAYS["an even share, 512 rows"](surrogate(), inputs, scores).posterior(inputs)
    np.testing.assert_array_equal(shared.mean, exact.mean)
    induced = WAYS["128 inducing rows"](surrogate(), inputs, scores).posterior(inputs)
    assert not np.array_equal(induced.mean, exact.mean)
    more = WAYS["512 inducing rows"](surrogate(), inputs, scores).posterior(inputs)
    assert np.abs(more.mean - exact.mean).max() < np.abs(induced.mean - exact.mean).max()


def test_an_even_share_is_told_as_many_rows(table: Table) -> None:
    rows = seen_rows(table, table.epochs)
    inputs, scores = table.inputs.rows(rows), table.scores[rows]
    assert len(rows) > 512
    told = WAYS["an even share, 512 rows"](surrogate(), inputs, scores)
    assert told.data is not None and len(told.data.y) == 512


def test_targets_are_two_sided() -> None:
    found = {
        (USUAL, 40, f"0/{SHARE}"): {"a": [1.0, 0.98]},
        (USUAL, 40, f"3/{SHARE}"): {"a": [0.9, 0.88], "b": [0.92]},
    }
    first, second = targets(found)
    assert first.measured == pytest.approx(0.09) and not first.met
    assert second.measured == pytest.approx(0.005) and second.met


def test_the_table_of_a_hub(write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb", "usps"), count=20, hub="timm-tiny")
    arguments = ["--hub", str(hub), "--out", str(tmp_path / "out"), "--quick", "--json"]
    with pytest.raises(UsageError, match="no surrogate for gtsrb"):
        many_observations.main(arguments)
    surrogate().save(tmp_path / "without-traffic_signs.safetensors")
    many_observations.main([*arguments, "--surrogates", str(tmp_path)])
    printed = capsys.readouterr()
    assert "hours" in printed.err
    report = json.loads(printed.out)
    told = [row for row in report["rows"] if row["method"] == "all"]
    assert [row["at"] for row in told] == ["40 observations", "80 observations"]
    assert 40 < told[0]["mean"] < told[1]["mean"] <= 3 * 80 and all(row["n"] == 2 for row in told)
    others = [row for row in report["rows"] if row["method"] != "all"]
    assert len(others) == len(WAYS) * 2 * 4 * 2
    assert all(row["mean"] > 0 for row in others if "seconds" in row["metric"])
    assert all(0 <= row["mean"] <= 1 for row in others if "share" in row["metric"])
    many_observations.main([*arguments, "--surrogates", str(tmp_path)])
    assert capsys.readouterr().out == printed.out  # seconds and all: read back
