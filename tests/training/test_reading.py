"""Rows of the ranking that read weights themselves: what they see, what they make of it, and the command."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import UsageError
from training.benchmarks import ranking
from training.benchmarks.cached.dyhpo import Steps
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.leaks import with_another_future
from training.benchmarks.cached.pool import Pool, Weights, pools, with_weights
from training.benchmarks.cached.rankers import ByDyHPO, randomly
from training.benchmarks.cached.reading import Checkpoints, Encoder, flat, functional, metanetwork
from training.benchmarks.cached.statistics import kendall

RUNS = 60
SHAPES = {"a.weight": (4, 1, 3, 3), "a.bias": (4,), "b.weight": (10, 4), "b.bias": (10,)}
ENCODERS = pytest.mark.parametrize("encoder", [flat, functional, metanetwork])


def state(rng: np.random.Generator, scale: float) -> Weights:
    return {name: (scale * rng.normal(1.0, size=shape)).astype(np.float16) for name, shape in SHAPES.items()}


@pytest.fixture
def kept(make_pool: Callable[..., Pool]) -> Pool:
    """Runs whose scores after the first epoch nothing but their weights tells: the larger, the better."""
    pool, rng = make_pool(RUNS), np.random.default_rng(0)
    quality = rng.uniform(0.2, 0.9, len(pool.runs))
    runs = tuple(
        replace(run, scores=(0.5, *[q] * 5), losses=(1.0,) * 6, test_score=q, reason=None)
        for run, q in zip(pool.runs, quality, strict=True)
    )
    weights = {
        (run.id, epoch): state(rng, q) for run, q in zip(runs, quality, strict=True) for epoch in (1, 4)
    }
    return replace(pool, runs=runs, weights=weights)


def test_a_row_sees_the_newest_checkpoint_before_its_epoch(kept: Pool) -> None:
    environment = Environment(kept)
    for _ in range(5):
        environment.advance(3)
    environment.advance(7)
    found = Checkpoints.of(environment)
    assert found.numbers == {(3, 1): 0, (3, 4): 1, (7, 1): 2}
    runs, epochs = np.array([3, 3, 3, 3, 7, 7, 0]), np.array([1, 2, 4, 5, 1, 6, 6])
    beside = found.beside(torch.zeros(7, 2, dtype=torch.float64), runs, epochs)
    assert beside[:, 2].tolist() == [-1, 0, 0, 1, -1, 2, -1]
    for tensor in (*found.stack.weights, *found.stack.biases):
        assert len(tensor) == 3 and tensor.square().mean().item() == pytest.approx(1.0, rel=1e-3)
    with pytest.raises(ValueError, match=r"epoch 4 of run 7 is not paid for"):
        environment.weights(7, 4)
    with pytest.raises(UsageError, match="no weights were kept of what the search has trained"):
        Checkpoints.of(Environment(kept))


@ENCODERS
def test_what_only_the_weights_tell_is_read_from_them(kept: Pool, encoder: Encoder) -> None:
    taus = []
    for eyes in (encoder, None):
        environment = Environment(kept, 90)
        predicted = ByDyHPO(Steps(first=20), encoder=eyes)(environment, np.random.default_rng(1))
        once = [run for run in range(RUNS) if environment.reached(run) == 1]
        assert len(once) > 15
        taus.append(kendall(predicted[once], kept.finals()[once]))
    assert taus[0] > taus[1] + 0.25


@ENCODERS
def test_weights_that_are_not_paid_for_are_not_read(kept: Pool, encoder: Encoder) -> None:
    paid = Environment(kept, 30)
    with pytest.raises(BudgetSpent):
        randomly(paid, np.random.default_rng(2))
    other = with_another_future(kept, paid.history, (0.0, 1.0), 0)
    assert any(
        not np.array_equal(other.weights[key]["a.bias"], kept.weights[key]["a.bias"]) for key in kept.weights
    )
    first, second = (
        ByDyHPO(Steps(first=5), encoder=encoder)(Environment(pool, 30), np.random.default_rng(2))
        for pool in (kept, other)
    )
    assert np.array_equal(first, second)


@pytest.fixture
def hub(tmp_path: Path, kept: Pool, as_rows: Callable[..., list[object]]) -> Path:
    """Two tasks; of two runs of three the weights were kept."""
    for number, task in enumerate(("cifar10", "gtsrb")):
        runs = [replace(run, id=f"{number}{run.id}") for run in kept.runs]
        raw = {
            f"{number}{run}/{epoch}/{name}": tensor
            for (run, epoch), found in kept.weights.items()
            if int(run[-4:]) % 3
            for name, tensor in found.items()
        }
        pool = replace(kept, task=replace(kept.task, name=task))
        rows = [row for run in runs for row in as_rows(run, pool)]
        write_shard(tmp_path, rows, {}, {"raw": raw})
        add_rows(tmp_path, TaskRow, [pool.task])
    add_rows(tmp_path, CandidateRow, list(kept.candidates.values()))
    return tmp_path


def test_runs_whose_weights_were_kept(hub: Path, kept: Pool) -> None:
    everything = pools(hub)
    found = with_weights(everything, hub)
    assert {task: len(pool.runs) for task, pool in found.items()} == {"cifar10": 40, "gtsrb": 40}
    gtsrb = found["gtsrb"]
    assert {run for run, _ in gtsrb.weights} == {run.id for run in gtsrb.runs}
    (run, epoch), one = next(iter(gtsrb.weights.items()))
    assert np.array_equal(one["b.weight"], kept.weights[run[1:], epoch]["b.weight"])
    assert set(with_weights({"gtsrb": everything["gtsrb"].only([0])}, hub)) == set()


def test_the_command_on_runs_whose_weights_were_kept(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--hub", str(hub), "--out", str(hub / "out"), "--quick", "--json", "--methods"]
    with pytest.raises(SystemExit):
        ranking.main([*given, "random,gmn"])
    assert "gmn read weights themselves, which needs --raw" in capsys.readouterr().err
    ranking.main([*given, "random,flat", "--raw"])
    report = json.loads(capsys.readouterr().out)
    assert "pools of 40 to 40 runs" in report["setting"] and "whose weights were kept" in report["setting"]
    assert [row["method"].split(":")[0] for row in report["rows"]] == ["random", "flat"]
    ranking.main([*given, "random"])
    report = json.loads(capsys.readouterr().out)
    assert "pools of 60 to 60 runs" in report["setting"] and "kept" not in report["setting"]


def test_a_hub_without_weights_is_refused(tmp_path: Path, write_hub: Callable[..., Path]) -> None:
    hub = write_hub(tmp_path, ("cifar10",), count=6)
    with pytest.raises(UsageError, match="has no run whose weights were kept"):
        with_weights(pools(hub), hub)
