"""What mattered: shares that follow from scores whose causes are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fms_hub.cli import main
from fms_hub.errors import UsageError
from fms_hub.hub.logbook import Logbook
from fms_hub.records import Observation
from fms_hub.search.importance import importance_of

NAMES = ("candidate", "learning_rate", "dropout")


def runs(weights: dict[str, float], n: int = 60) -> list[Observation]:
    """Runs of one epoch whose score is a weighted sum; dropout never matters."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(n):
        candidate, rate = int(rng.integers(2)), float(rng.random())
        values = {"learning_rate": rate, "dropout": float(rng.random())}
        score = weights.get("candidate", 0.0) * candidate + weights.get("learning_rate", 0.0) * rate
        found.append(Observation(number, f"c{candidate}", values, 1, 1, score, seconds=1.0))
    return found


@pytest.mark.parametrize("name", ["candidate", "learning_rate"])
def test_what_makes_the_score_has_the_largest_share(name: str) -> None:
    found = importance_of(runs({name: 0.8, "learning_rate": 0.8 if name == "learning_rate" else 0.05}))
    assert set(found.shares) == set(NAMES)
    assert next(iter(found.shares)) == name
    assert found.shares[name] > 0.7
    assert found.shares["dropout"] < 0.1
    assert sum(found.shares.values()) == pytest.approx(1.0)
    assert (found.left_out, found.runs) == ((), 60)


def test_what_not_every_run_had_is_named() -> None:
    history = runs({"candidate": 0.5, "learning_rate": 0.4})
    with_momentum = Observation(
        60, "c0", {"learning_rate": 0.5, "dropout": 0.5, "momentum": 0.9}, 1, 1, 0.3, seconds=1.0
    )
    assert importance_of([*history, with_momentum]).left_out == ("momentum",)


def test_shares_repeat_with_the_seed() -> None:
    history = runs({"candidate": 0.5, "learning_rate": 0.4})
    assert importance_of(history, seed=1) == importance_of(history, seed=1)
    assert importance_of(history, seed=1) != importance_of(history, seed=2)


@pytest.mark.parametrize("history", [runs({"candidate": 0.5})[:3], runs({})])
def test_too_little_to_tell_is_said(history: list[Observation]) -> None:
    with pytest.raises(UsageError, match="at least 4 runs with different scores"):
        importance_of(history)


def test_the_command_prints_bars_or_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Logbook(tmp_path, {}) as log:
        for observation in runs({"candidate": 0.8}):
            log.append(observation)
    told = {}
    for options in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["fms-hub", "importance", str(tmp_path), *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        told[bool(options)] = captured.out
    shares = json.loads(told[True])["shares"]
    assert max(shares, key=shares.get) == "candidate"
    assert f"candidate      {shares['candidate']:.2f}  ####" in told[False]
