"""Timing both surrogates on cached runs: what they are given, and that the clock is read."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fms_hub.errors import UsageError
from tests.taught import pool, surrogate
from training.benchmarks import latency
from training.benchmarks.latency import ROWS, SCORES, SEARCH, STEPS, draw, process_of, targets

WriteHub = Callable[..., Path]


def test_so_many_epochs_are_paid_and_so_many_questions_asked() -> None:
    pools = [pool("gtsrb", 3, runs=20), pool("usps", 1, runs=20)]
    work = draw(pools[:1], 80, np.random.default_rng(0))
    assert len(work.environment.history) == len(work.runs) == len(work.epochs) == 80
    assert len(work.environment.configurations) == 20
    reached = [work.environment.reached(int(run)) for run in work.runs]
    assert all(r < e or r == e == 6 for r, e in zip(reached, work.epochs.tolist(), strict=True))


def test_runs_of_the_next_tasks_join_where_there_are_too_few() -> None:
    pools = [pool("gtsrb", 3, runs=20), pool("usps", 1, runs=20), pool("smiles", 2, runs=20)]
    work = draw(pools, 200, np.random.default_rng(0))
    assert len(work.environment.configurations) == 40
    with pytest.raises(UsageError, match="runs of 351 epochs in this split, 400 are needed"):
        draw(pools, 400, np.random.default_rng(0))


def test_targets_are_medians_with_two_threads() -> None:
    times = {(SEARCH, 2): [0.2, 0.3, 9.0], (ROWS, 2): [2.0], (STEPS, 2): [0.6, 0.6], (SEARCH, 1): [5.0]}
    first, second, share = targets(times)
    assert first.measured == 0.3 and first.met
    assert second.measured == 2.0 and not second.met
    assert share.measured == pytest.approx(0.5) and share.met


def test_the_table_of_a_hub(write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb",), hub="timm-tiny")
    arguments = ["--hub", str(hub), "--out", str(tmp_path / "out"), "--quick", "--json"]
    with pytest.raises(UsageError, match="no surrogate to time"):
        latency.main(arguments)
    surrogate().save(tmp_path / "without-traffic_signs.safetensors")
    latency.main([*arguments, "--surrogates", str(tmp_path)])
    printed = capsys.readouterr().out
    report = json.loads(printed)
    assert "100 observations" in report["setting"]
    assert [(row["method"], row["at"]) for row in report["rows"]] == [
        (name, at)
        for at in ("1 thread", "2 threads")
        for name in (SEARCH, ROWS, STEPS, SCORES, process_of(128))
    ]
    assert all(0 < row["low"] <= row["mean"] <= row["high"] and row["n"] == 2 for row in report["rows"])
    assert (tmp_path / "out" / "timm-tiny.json").read_text() + "\n" == printed
