"""The timm-tiny hub: its candidates, tasks and plan are what the corpus needs, and known beforehand."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits
from timm.models import is_model

from fms_hub.corpus.shards import read_shards
from fms_hub.errors import CandidateError
from fms_hub.models import bundle
from fms_hub.models.bundle import BundledCheckpoint
from fms_hub.models.folder import sha256
from fms_hub.search.space import Space
from training.corpus import candidates, tasks, timm_tiny
from training.corpus.parallel import Sweep, in_processes
from training.corpus.plan import PlannedRun
from training.corpus.run import Settings, sweep
from training.pretrain.sources import SOURCES

PRETRAINED = candidates.timm_tiny()


@pytest.fixture(scope="module")
def planned() -> list[PlannedRun]:
    return timm_tiny.timm_tiny(tasks.TIMM_TINY, PRETRAINED, 0)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """2,600 training and 2,100 test scans in a folder of datasets, more than a sweep uses."""
    digits = load_digits()
    rows = np.arange(4700) % len(digits.target)
    pixels = np.clip(digits.images * 16, 0, 255).astype(np.uint8)[rows]
    pixels[:, 0, 0] = rows // 10 % 256
    np.savez(
        tmp_path / "scans.npz",
        x_train=pixels[:2600],
        y_train=digits.target[rows[:2600]].astype(np.int16),
        x_test=pixels[2600:],
        y_test=digits.target[rows[2600:]].astype(np.int16),
        class_names=np.array([str(c) for c in range(10)]),
        meta=json.dumps(
            {"repo": "scikit-learn", "commit": "0" * 40, "licence": "CC BY 4.0", "format": "raw"}
        ),
    )
    return tmp_path


def test_the_hub_has_twelve_architectures_of_three_sources_each() -> None:
    sources = defaultdict(set)
    for name, data in PRETRAINED.items():
        sources[candidates.architecture(name)].add(data)
    assert len(sources) >= 12
    assert all(is_model(architecture) for architecture in sources)
    assert all(len(data - {None}) >= 2 and None in data for data in sources.values())
    assert len(PRETRAINED) >= 40


def test_every_cell_is_free_of_the_candidates_own_images(planned: list[PlannedRun]) -> None:
    cells = {(run.task, run.candidate) for run in planned}
    seen = {(task, PRETRAINED[candidate]) for task, candidate in cells}
    assert ("cmater_devanagari", "cmater_devanagari") not in seen
    assert ("fashion_mini", "fashion_mini") not in seen
    assert ("pneumoniamnist", "pneumoniamnist") not in seen
    assert ("hymenoptera", "tiny_imagenet32") not in seen  # the same photographs are in both
    assert {("hymenoptera", "cifar10"), ("usps", "mnist"), ("flowers5", "tiny_imagenet32")} <= seen
    assert len(cells) == 13 * len(PRETRAINED) - 3 - sum(
        data == "tiny_imagenet32" for data in PRETRAINED.values()
    )


def test_half_of_each_tasks_cells_are_deep(planned: list[PlannedRun]) -> None:
    runs = Counter((run.task, run.candidate) for run in planned if run.seed == 0)
    assert set(runs.values()) == {timm_tiny.DEEP, timm_tiny.SHALLOW}
    for task in tasks.TIMM_TINY:
        sizes = [n for (name, _), n in runs.items() if name == task]
        assert sizes.count(timm_tiny.DEEP) == (len(sizes) + 1) // 2
    assert 2400 <= len(planned) <= 2600


def test_a_cell_begins_with_the_default_and_has_both_horizons(planned: list[PlannedRun]) -> None:
    cells = defaultdict(list)
    for run in planned:
        if run.seed == 0:
            cells[run.task, run.candidate].append(run)
    default = Space().default()
    for runs in cells.values():
        assert runs[0].hyperparameters == default
        assert all(run.hyperparameters != default for run in runs[1:])
        assert {run.horizon for run in runs} == {12, 16} or len(runs) == timm_tiny.SHALLOW
    assert len({json.dumps(run.hyperparameters) for runs in cells.values() for run in runs[1:]}) > 1600


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6])
def test_any_beginning_has_the_mix_of_the_whole(planned: list[PlannedRun], share: float) -> None:
    first = planned[: int(share * len(planned))]
    whole, begun = (Counter(run.task for run in runs) for runs in (planned, first))
    assert all(abs(begun[task] / share / n - 1) < 0.15 for task, n in whole.items())
    assert {candidates.architecture(run.candidate) for run in first} == set(candidates.ARCHITECTURES)
    deep = Counter((run.task, run.candidate) for run in planned if run.seed == 0)
    of_deep = [deep[run.task, run.candidate] == timm_tiny.DEEP for run in planned]
    assert np.mean(of_deep[: len(first)]) == pytest.approx(np.mean(of_deep), abs=0.03)


def test_one_run_in_twenty_is_repeated_with_the_next_seed(planned: list[PlannedRun]) -> None:
    repeats = [run for run in planned if run.seed == 1]
    assert len(repeats) / (len(planned) - len(repeats)) == pytest.approx(0.05, abs=0.003)
    there = {run.id for run in planned}
    assert len(there) == len(planned)
    assert all(replace(run, seed=0).id in there for run in repeats)
    assert set(Counter(run.task for run in repeats)) == set(tasks.TIMM_TINY)


def test_the_plan_repeats_from_its_seed(planned: list[PlannedRun]) -> None:
    few = {name: PRETRAINED[name] for name in list(PRETRAINED)[:4]}
    again = timm_tiny.timm_tiny(("usps", "dtd10"), few, 3)
    assert again == timm_tiny.timm_tiny(("usps", "dtd10"), few, 3)
    assert again != timm_tiny.timm_tiny(("usps", "dtd10"), few, 4)


def test_the_plan_of_the_sweep_that_is_under_way_does_not_change(planned: list[PlannedRun]) -> None:
    ids = "".join(run.id for run in planned)
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == "e9a906d3e683e746"


def rows(*scores: float | None, task: str = "usps", seed: int = 0) -> list[dict[str, object]]:
    """The last rows of finished runs; one without a score failed."""
    return [
        {
            "run": f"{task}{i}", "task": task, "candidate": f"c{i}",
            "hyperparameters": '{"learning_rate": 0.1}', "epoch": 12, "horizon": 12, "seed": seed,
            "validation_score": score, "status": "failed" if score is None else "ok",
        }
        for i, score in enumerate(scores)
    ]  # fmt: skip


def test_the_best_three_of_each_task_get_two_more_seeds() -> None:
    table = rows(0.2, 0.9, 0.5, 0.7, None) + rows(0.3, task="dtd10") + rows(0.99, task="gtsrb", seed=1)
    table.append({**table[0], "epoch": 11, "validation_score": 1.0})
    chosen = timm_tiny.best(pd.DataFrame(table), 0)
    assert Counter((run.task, run.candidate, run.seed) for run in chosen) == Counter(
        (task, candidate, seed)
        for task, candidate in (("usps", "c1"), ("usps", "c3"), ("usps", "c2"), ("dtd10", "c0"))
        for seed in (1, 2)
    )
    assert chosen[0].hyperparameters == {"learning_rate": 0.1}


def test_a_source_checkpoint_is_found_once_it_is_trained(tmp_path: Path) -> None:
    name = f"source/{SOURCES[0].name}"
    assert candidates.find(name, tmp_path) is None
    trained = tmp_path / SOURCES[0].name
    trained.mkdir()
    (trained / "model.safetensors").write_bytes(b"weights")
    entry = {
        **vars(bundle.read_index()[0]),
        "name": name,
        "file": f"{SOURCES[0].name}/model.safetensors",
        "sha256": sha256(trained / "model.safetensors"),
    }
    bundle.write_index([BundledCheckpoint(**entry)], tmp_path)
    found = candidates.find(name, tmp_path)
    assert found is not None
    assert found.location == str(trained)
    assert candidates.find(f"source/{SOURCES[1].name}", tmp_path) is None


def test_an_unplanned_source_is_an_error() -> None:
    with pytest.raises(CandidateError, match="source/nothing"):
        candidates.find("source/nothing")


def test_an_epoch_is_two_thousand_images(scans: Path) -> None:
    task = tasks.read_task(scans, "scans", None)
    assert task.info.sizes == {"train": 2000, "validation": 500, "test": 2000}
    again = tasks.read_task(scans, "scans", None)
    assert again.info.fingerprint == task.info.fingerprint
    assert np.bincount(task.train.labels).min() > 150


def test_a_small_training_split_is_an_epoch(scans: Path) -> None:
    task = tasks.read_task(scans, "scans", 300)
    assert task.info.sizes == {"train": 240, "validation": 60, "test": 2100}
    assert tasks.capped(task).info.sizes == {"train": 240, "validation": 60, "test": 2000}


def test_unequal_classes_are_scored_evenly() -> None:
    assert tasks.metric("pneumoniamnist") == "balanced_accuracy"
    assert {tasks.metric(name) for name in tasks.TIMM_TINY} == {"accuracy", "balanced_accuracy"}
    assert tasks.dataset("pacs:art") == "pacs"


def test_a_run_waits_for_its_checkpoint_and_others_go_on(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "SOURCES_ROOT", tmp_path / "none")
    waiting = PlannedRun("scans", f"source/{SOURCES[0].name}", {"frozen": 1.0}, 1, 0)
    ready = replace(waiting, candidate="scratch:test_resnet")
    settings = Settings(scans, tmp_path / "out", "timm-tiny", 100, 32, 600.0, timed=False, device="cpu")
    assert sweep([waiting, ready], settings, 2) == 1
    assert set(read_shards(tmp_path / "out")["run"]) == {ready.id}


def test_workers_share_the_runs_out(scans: Path, tmp_path: Path) -> None:
    runs = [PlannedRun("scans", "scratch:test_resnet", {"frozen": 1.0}, 1, seed) for seed in range(3)]
    settings = Settings(scans, tmp_path / "out", "timm-tiny", 100, 32, 600.0, timed=False, device="cpu")
    assert in_processes(Sweep(runs, settings), 2) == 3
    assert set(read_shards(tmp_path / "out")["run"]) == {run.id for run in runs}


def test_a_worker_that_is_done_helps_the_others(scans: Path, tmp_path: Path) -> None:
    runs = [PlannedRun("scans", "scratch:test_resnet", {"frozen": 1.0}, 1, seed) for seed in range(3)]
    settings = Settings(scans, tmp_path / "out", "timm-tiny", 100, 32, 600.0, timed=False, device="cpu")
    assert Sweep(runs, settings).share(1, 2) == 3
    assert Sweep(runs, settings).share(0, 2) == 0
