"""Pools of cached runs with curves that depend on their hyperparameters, for the benchmarks' tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shards import run_of

from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Row, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from fms_hub.records import Value
from fms_hub.search.space import Space
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.pooling import POOLED
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus.small_net import PIXELS, SmallCNN, sample

HORIZON = 6
CANDIDATES = {
    "bundled/test_resnet.omniglot_small": "omniglot_small",
    "scratch:test_vit": "random",
    "scratch:test_resnet": "random",
}

MakePool = Callable[..., Pool]
WriteHub = Callable[..., Path]
AsRows = Callable[[CachedRun, Pool], list[Row]]


def task_row(name: str, hub: str) -> TaskRow:
    features = dict.fromkeys(META_FEATURES, 0.5)
    return TaskRow(
        hub, name, "group", 10, None, 2000, 500, 500, 28, "accuracy", "print", features, "CC0", "web"
    )


def candidate_row(name: str, source: str) -> CandidateRow:
    architecture = "SmallCNN" if name == "small-cnn" else name.split("/")[-1].split(":")[-1].split(".")[0]
    return CandidateRow(
        name, architecture, "f", source, 0 if source == "random" else 1, None, 9000, "CC0", False
    )


def curve(values: dict[str, Value], candidate: int, rng: np.random.Generator) -> tuple[float, ...]:
    """Best at a learning rate near 1e-2; later candidates are worse."""
    quality = np.exp(-0.5 * np.log10(float(values["learning_rate"]) / 1e-2) ** 2) * 0.8**candidate
    scores = quality * (1 - np.exp(-0.5 * np.arange(1, HORIZON + 1))) + rng.normal(0, 0.01, HORIZON)
    return tuple(np.clip(scores, 0, 1).tolist())


def configurations(count: int, hub: str, seed: int) -> list[dict[str, Value]]:
    if hub == "small-cnn":
        return [sample(np.random.default_rng([seed, draw])) for draw in range(count)]
    return Space().sample(count, seed)


@pytest.fixture
def make_pool() -> MakePool:
    """A pool of so many runs, one in ten of which fails on the way; several candidates outside small-cnn."""

    def make(count: int = 30, *, hub: str = "small-cnn", task: str = "cifar10", seed: int = 0) -> Pool:
        rng = np.random.default_rng(seed)
        sources = {"small-cnn": "random"} if hub == "small-cnn" else CANDIDATES
        names = tuple(sources)
        rows = {name: candidate_row(name, source) for name, source in sources.items()}
        runs, sketches = [], {}
        for number, values in enumerate(configurations(count, hub, seed)):
            which = number % len(names)
            scores, failed = curve(values, which, rng), number % 10 == 9
            seen = scores[:2] if failed else scores
            key = f"{task}{number:04d}"
            runs.append(
                CachedRun(
                    key,
                    names[which],
                    values,
                    HORIZON,
                    0,
                    seen,
                    tuple(1 - s for s in seen),
                    None if failed else scores[-1],
                    "diverged" if failed else None,
                )
            )
            sketches |= {(key, epoch): rng.normal(size=len(POOLED)) for epoch in (0, 1, 4, HORIZON)}
        return Pool(hub, task_row(task, hub), rows, tuple(runs), {}, sketches)

    return make


@pytest.fixture
def as_rows() -> AsRows:
    """A run as the corpus logs it."""
    return rows_of


@pytest.fixture
def write_hub(make_pool: MakePool) -> WriteHub:
    """Write pools of tasks as a corpus folder."""

    def write(folder: Path, tasks: tuple[str, ...], count: int = 30, hub: str = "small-cnn") -> Path:
        for number, task in enumerate(tasks):
            pool = make_pool(count, hub=hub, task=task, seed=number)
            write_shard(folder, [row for run in pool.runs for row in rows_of(run, pool)], {})
            add_rows(folder, TaskRow, [pool.task])
            add_rows(folder, CandidateRow, list(pool.candidates.values()))
        return folder

    return write


def rows_of(run: CachedRun, pool: Pool) -> list[Row]:
    rows = []
    for epoch in range(1, run.epochs + 1):
        failed = epoch > len(run.scores)
        rows.append(
            Row(
                run=run.id,
                hub=pool.hub,
                task=pool.task.name,
                candidate=run.candidate,
                hyperparameters=json.dumps(run.hyperparameters, sort_keys=True),
                epoch=epoch,
                horizon=run.horizon,
                seed=run.seed,
                train_loss=None if failed else run.losses[epoch - 1],
                validation_score=None if failed else run.scores[epoch - 1],
                test_score=run.test_score if epoch == run.horizon else None,
                seconds=None,
                device="cpu",
                status="failed" if failed else "ok",
                reason=run.reason if failed else None,
                sketch=None,
            )
        )
    return rows


@pytest.fixture(scope="module")
def graph() -> WeightGraph:
    """Of a network of the small-cnn hub."""
    return describe(SmallCNN(10), (1, PIXELS, PIXELS))


@pytest.fixture
def folder(tmp_path: Path, graph: WeightGraph) -> Path:
    """A shard of two runs, one of them sketched."""
    rows = [*run_of(2, "good"), *run_of(3, "better")]
    rows[1] = replace(rows[1], sketch="good/2")
    write_shard(tmp_path, rows, {"good/2": graph}, {"raw": {"good/2/w": np.ones(3, np.float16)}})
    return tmp_path
