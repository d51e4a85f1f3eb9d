"""The table by epochs seen: what it asks, what it may look at, and the command."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests import taught
from training.benchmarks import fidelity
from training.benchmarks.cached.judging import JudgedTask
from training.benchmarks.fidelity import BLIND, LAST, OURS, targets
from training.meta.table import table_of


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> JudgedTask:
    path = tmp_path_factory.mktemp("surrogates") / "taught.safetensors"
    taught.surrogate().save(path)
    return JudgedTask("gtsrb", taught.pool("gtsrb", 3), path)


def test_the_more_is_seen_the_better_ends_are_foreseen(judged: JudgedTask) -> None:
    taus = fidelity._asked(judged, OURS, seeds=2)
    assert set(taus) == {f"{seen}/{seed}" for seen in (0, 1, 2, 4) for seed in (0, 1)}  # six epochs a run
    assert 0.2 < taus["0/0"] < taus["4/0"] and taus["0/0"] != taus["0/1"]
    last = fidelity._asked(judged, LAST, seeds=1)
    assert last["0/0"] == 0.0  # nothing is seen, nothing is said
    assert last["4/0"] == pytest.approx(1.0)  # curves of this pool do not cross


def test_without_weights_they_are_not_looked_at(judged: JudgedTask) -> None:
    table = table_of(judged.pool)
    rows = table.row[table.finished, 1, table.horizons[table.finished]]
    other = table.inputs.showing({"weights": table.inputs.weights + 1.0, "start": table.inputs.start - 1.0})
    moved = table_of(judged.pool)
    object.__setattr__(moved, "inputs", other)
    blind = [fidelity.foresee(judged, BLIND, one, rows) for one in (table, moved)]
    assert np.array_equal(*blind)
    assert not np.array_equal(blind[0], fidelity.foresee(judged, OURS, table, rows))


def test_weights_matter_where_the_interval_is_above_zero() -> None:
    found = {
        (OURS, 0): {"a": [0.5, 0.6], "b": [0.4, 0.5]},
        (BLIND, 0): {"a": [0.3, 0.4], "b": [0.2, 0.3]},
        (OURS, 1): {"a": [0.5], "b": [0.5]},
        (BLIND, 1): {"a": [0.6], "b": [0.4]},
    }
    none, one, two = targets(found)
    assert none.measured == pytest.approx(0.2) and none.met
    assert one.measured == pytest.approx(-0.1) and not one.met
    assert two.measured is None and not two.met


def test_the_command(tmp_path: Path, write_hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb", "usps"), count=12, hub="timm-tiny")
    taught.surrogate().save(tmp_path / "without-traffic_signs.safetensors")
    given = ["--hub", str(hub), "--surrogates", str(tmp_path), "--out", str(tmp_path / "out"), "--json"]
    fidelity.main([*given, "--seeds", "2"])
    first = capsys.readouterr()
    report = json.loads(first.out)
    assert "hours" in first.err and "80% of the runs" in report["setting"]
    shown = [(row["method"].split(":")[0], row["at"]) for row in report["rows"]]
    assert shown[:2] == [(OURS, "0 epochs seen"), (OURS, "1 epochs seen")]
    assert (LAST, "1 epochs seen") in shown and (LAST, "0 epochs seen") not in shown
    assert {row["n"] for row in report["rows"]} == {2} and len(report["targets"]) == 3
    stored = sorted((tmp_path / "out").rglob("*.json"))
    assert len(stored) == 4
    content = json.loads(stored[0].read_text())
    stored[0].write_text(json.dumps(content | {"0/0": 0.123, "0/1": 0.123}))
    fidelity.main([*given, "--seeds", "2"])
    assert "0.123" in capsys.readouterr().out
