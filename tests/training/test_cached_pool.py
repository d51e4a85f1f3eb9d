"""Pools: what is read from a corpus folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fms_hub.corpus.schema import CandidateRow, Row, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import UsageError
from fms_hub.weights.describe import describe
from training.benchmarks.cached.costs import StepTimes, epoch_seconds, read_step_times
from training.benchmarks.cached.pool import CachedRun, Pool, pools
from training.benchmarks.cached.start import hub_pools, start_sketches
from training.corpus.small_net import PIXELS, SmallCNN

AsRows = Callable[[CachedRun, Pool], list[Row]]
MakePool = Callable[..., Pool]


@pytest.fixture
def folder(make_pool: MakePool, as_rows: AsRows, tmp_path: Path) -> Path:
    """Three configurations: one run by seeds 1 and 0, one failed in its second epoch, one not finished."""
    pool = make_pool(3)
    first, second, third = (replace(run, reason=None) for run in pool.runs)
    again = replace(first, id="again", seed=1, scores=tuple(s / 2 for s in first.scores))
    failed = replace(
        second, scores=second.scores[:1], losses=second.losses[:1], test_score=None, reason="diverged"
    )
    rows = [row for run in (again, first, failed, third) for row in as_rows(run, pool)]
    rows = [row for row in rows if row.run != third.id or row.epoch < pool.horizon]
    rows[pool.horizon] = replace(rows[pool.horizon], sketch=f"{first.id}/1")
    write_shard(tmp_path, rows, {f"{first.id}/1": describe(SmallCNN(10), (1, PIXELS, PIXELS))})
    add_rows(tmp_path, TaskRow, [pool.task])
    add_rows(tmp_path, CandidateRow, list(pool.candidates.values()))
    return tmp_path


def test_a_pool_has_one_row_a_configuration_and_the_repeats_beside_it(folder: Path) -> None:
    (pool,) = pools(folder).values()
    assert [run.seed for run in pool.runs] == [0, 0]
    assert pool.runs[0].id == "cifar100000"
    assert pool.repeats == {"cifar100000": (pool.runs[0].scores[-1], pool.runs[0].scores[-1] / 2)}


def test_failed_runs_stay_and_count_as_nothing_and_unfinished_ones_do_not(folder: Path) -> None:
    (pool,) = pools(folder).values()
    failed = pool.runs[1]
    assert (failed.reason, failed.final, failed.tested, failed.epochs) == ("diverged", 0.0, 0.0, 2)
    assert len(failed.scores) == len(failed.losses) == 1
    assert pool.finals().tolist() == [pool.runs[0].scores[-1], 0.0]


def test_sketches_are_pooled_by_run_and_epoch(folder: Path) -> None:
    (pool,) = pools(folder).values()
    assert list(pool.sketches) == [("cifar100000", 1)]
    found = pool.sketches["cifar100000", 1]
    assert found.ndim == 1
    assert np.isfinite(found).all()
    assert ("cifar100000", 2) not in pool.sketches


def test_what_cannot_be_a_pool_is_refused(
    folder: Path, make_pool: MakePool, as_rows: AsRows, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="found no runs"):
        pools(tmp_path / "nothing")
    other = make_pool(1, task="gtsrb")
    write_shard(folder, as_rows(other.runs[0], other), {})
    with pytest.raises(UsageError, match="runs of gtsrb, but no such row of a task"):
        pools(folder)


def test_an_epoch_costs_its_steps(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    values = {**pool.runs[0].hyperparameters, "batch_size": 64, "train_fraction": 0.25}
    pool = replace(pool, runs=(replace(pool.runs[0], hyperparameters=values),))
    # 500 of the task's 2,000 images in 8 batches of 64, whose step takes 3/7 of the way from 1 to 8 seconds.
    found = epoch_seconds(pool, StepTimes("by hand", {"SmallCNN": (1.0, 8.0)}))
    assert found == pytest.approx([8 * 4.0])
    with pytest.raises(UsageError, match="no step time of SmallCNN"):
        epoch_seconds(pool, StepTimes("by hand", {}))
    (tmp_path / "times.json").write_text('{"source": "s", "seconds": {"a": [1]}}')
    with pytest.raises(UsageError, match="no table of step times"):
        read_step_times(tmp_path / "times.json")


def test_candidates_have_sketches_before_training() -> None:
    found = start_sketches(["scratch:test_resnet", "bundled/test_resnet.omniglot_small"])
    assert len(found) == 2
    first, second = found.values()
    assert first.shape == second.shape
    assert not np.allclose(first, second)


def test_runs_of_the_timm_tiny_hub_know_their_candidates_before_training(
    make_pool: MakePool, as_rows: AsRows, tmp_path: Path
) -> None:
    name = "scratch:test_resnet"
    for hub, known in (("timm-tiny", {name}), ("elsewhere", set())):
        pool = make_pool(2)
        pool = replace(pool, runs=tuple(replace(run, candidate=name, reason=None) for run in pool.runs))
        rows = [replace(row, hub=hub) for run in pool.runs for row in as_rows(run, pool)]
        write_shard(tmp_path / hub, rows, {})
        add_rows(tmp_path / hub, TaskRow, [replace(pool.task, hub=hub)])
        (row,) = pool.candidates.values()
        add_rows(tmp_path / hub, CandidateRow, [replace(row, name=name)])
        (read,) = hub_pools(tmp_path / hub).values()
        assert set(read.start) == known
        assert len(read.runs) == 2


def test_a_run_knows_its_final_score() -> None:
    run = CachedRun("a", "c", {}, 2, 0, (0.2, 0.4), (None, None), 0.3)
    assert (run.final, run.tested, run.epochs) == (0.4, 0.3, 2)
    assert np.isnan(replace(run, test_score=None).tested)
