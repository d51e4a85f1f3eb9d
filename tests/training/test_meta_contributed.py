"""Meta-training on what was contributed: tasks outside the splits, some with hardly a run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fms_hub.errors import UsageError
from tests import taught
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import read_splits
from training.meta.episodes import episode
from training.meta.fitting import fit
from training.meta.table import table_of
from training.meta.train import Settings
from training.meta_train import together

CONTRIBUTED = "task-00112233445566aa"


def contributed(runs: int = 3) -> Pool:
    """A task of nobody's split, with so many runs of two epochs."""
    pool = taught.pool("usps", seed=5, runs=runs)
    short = tuple(replace(run, horizon=2, scores=run.scores[:2], losses=run.losses[:2]) for run in pool.runs)
    row = replace(pool.task, hub="contributed", name=CONTRIBUTED, group=CONTRIBUTED)
    return replace(pool, hub="contributed", task=row, runs=short)


def test_an_episode_always_asks_something() -> None:
    table = table_of(contributed(runs=1))
    for seed in range(200):
        assert len(episode(table, np.random.default_rng(seed)).queries) > 0


def test_a_contributed_task_is_a_group_of_its_own() -> None:
    pools = [taught.pool("usps", 0, runs=12), contributed()]
    told: list[tuple[str, float]] = []
    made = fit(
        "both", pools, read_splits(), Settings(steps=5), lambda stage, _, loss: told.append((stage, loss))
    )
    assert all(any(group in stage for stage, _ in told) for group in ("characters", CONTRIBUTED))
    assert np.isfinite([loss for _, loss in told]).all()
    learned = made.surrogate.learned
    assert learned is not None
    assert all(bool(torch.isfinite(value).all()) for value in learned.parameters.values())


def test_hubs_of_other_hyperparameters_are_not_mixed() -> None:
    other = replace(contributed(), hub="small-cnn")
    with pytest.raises(UsageError, match=r"small-cnn, timm-tiny have different hyperparameters"):
        fit("x", [taught.pool("usps", 0, runs=4), other], read_splits(), Settings(steps=1))


def test_folders_are_read_together_and_no_task_twice(tmp_path: Path, write_hub: Callable[..., Path]) -> None:
    one = write_hub(tmp_path / "one", ("cifar10", "gtsrb"), count=4)
    two = write_hub(tmp_path / "two", ("smiles",), count=4)
    assert sorted(together([one, two])) == ["cifar10", "gtsrb", "smiles"]
    with pytest.raises(UsageError, match="has the task cifar10, and so has"):
        together([two, one, one])
