"""Runs are rebuilt from what was recorded of them, and linear probes fitted for comparison."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import save_file

from fms_hub.corpus.schema import CandidateRow, EmbeddingRow, Fault, ProbeRow, TaskRow
from fms_hub.corpus.shards import read_corpus, read_shards, write_shard
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.tasks.embedding import EMBEDDING
from training.corpus import small_cnn, small_net
from training.corpus.candidates import resolve
from training.corpus.collect import Kept, collect
from training.corpus.digits import write_digits
from training.corpus.holdings import noise, runs_of
from training.corpus.probe import REGULARISATIONS, probe, probe_all
from training.corpus.runlog import rows_of
from training.corpus.tasks import read_task
from training.corpus.verify import DEVIATIONS, verify

RECORDED = Path(__file__).parent / "fixtures" / "digits"
"""Written by

    python -m training.corpus digits --data DIR
    python -m training.corpus run --data DIR --out tests/training/fixtures/digits --hub digits \
        --tasks digits --horizons 3 --runs 2 --seed S --device cpu \
        --candidates bundled/test_efficientnet.pneumoniamnist,bundled/test_efficientnet.mnist_undertrained

with the seeds 0 and 1; both begin with the default configuration, so that these are repeats.
"""


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data")).parent


def test_the_recorded_digits_runs_rebuild(data: Path) -> None:
    allowed = DEVIATIONS * (noise(runs_of(read_shards(RECORDED))).deviation or 0)
    assert 0 < allowed < 0.15
    found = list(verify(RECORDED, data, runs=3, seed=0))
    assert len({rebuilt.run for rebuilt in found}) == 3
    assert [rebuilt.scores for rebuilt in found] == [4, 4, 4]
    assert {rebuilt.allowed for rebuilt in found} == {allowed}
    assert all(rebuilt.agrees for rebuilt in found), found


def test_the_fixture_is_what_a_sweep_would_refuse_nothing_of() -> None:
    corpus = read_corpus(RECORDED)
    assert corpus.refused == ()
    assert len(corpus.graphs) == 8
    assert corpus.rows.train_loss.gt(0).all()


def test_scores_that_nobody_measured_are_found(data: Path, tmp_path: Path) -> None:
    corpus = read_corpus(RECORDED)
    rows = [replace(row, sketch=None) for row in rows_of(corpus.rows)]
    wrong = [replace(row, validation_score=1 - row.validation_score) for row in rows]
    write_shard(tmp_path, wrong, {})
    add_rows(tmp_path, TaskRow, read_table(RECORDED, TaskRow))
    command = [sys.executable, "-m", "training.corpus", "verify", str(tmp_path), "--runs", "1"]
    done = subprocess.run([*command, "--data", str(data)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "DIFFERS" in done.stdout


def test_a_failure_that_did_not_happen_is_found(data: Path, tmp_path: Path) -> None:
    rows = list(rows_of(read_shards(RECORDED).assign(sketch=None)))[:3]
    last = replace(rows[-1], status="failed", reason="diverged", validation_score=None, test_score=None)
    write_shard(tmp_path, [*rows[:-1], last], {})
    add_rows(tmp_path, TaskRow, read_table(RECORDED, TaskRow))
    (found,) = verify(tmp_path, data, 1, 0)
    assert (found.largest, found.allowed, found.agrees) == (1.0, 0.0, False)


def test_settings_that_were_changed_are_found(data: Path, tmp_path: Path) -> None:
    rows = [replace(row, sketch=None, seed=5) for row in rows_of(read_shards(RECORDED))]
    write_shard(tmp_path, rows, {})
    add_rows(tmp_path, TaskRow, read_table(RECORDED, TaskRow))
    with pytest.raises(Fault, match="they were changed"):
        next(verify(tmp_path, data, 1, 0))


def test_other_images_are_found(data: Path, tmp_path: Path) -> None:
    with np.load(data / "digits.npz") as arrays:
        changed = dict(arrays)
    changed["x_train"][0, 0, 0] ^= 1
    np.savez(tmp_path / "digits.npz", **changed)
    with pytest.raises(Fault, match="digits has other images"):
        next(verify(RECORDED, tmp_path, 1, 0))


def test_a_folder_with_a_refused_shard_is_not_verified(data: Path, tmp_path: Path) -> None:
    shutil.copytree(RECORDED, tmp_path / "copy")
    shard = next((tmp_path / "copy").glob("shard-????????????.parquet"))
    shard.unlink()
    with pytest.raises(Fault, match=shard.stem):
        next(verify(tmp_path / "copy", data, 1, 0))


def test_small_networks_rebuild_exactly(data: Path, tmp_path: Path) -> None:
    planned = small_net.plan(["digits"], seed=3)
    assert small_cnn.sweep(islice(planned, 2), data=data, out=tmp_path, runs=2, seconds=600) == 2
    assert read_table(tmp_path, TaskRow)[0].image_size == small_net.PIXELS
    assert [row.name for row in read_table(tmp_path, CandidateRow)] == ["small-cnn"]
    found = list(verify(tmp_path, data, runs=5, seed=0))
    assert [(rebuilt.scores, rebuilt.largest, rebuilt.allowed) for rebuilt in found] == [(14, 0.0, 0.0)] * 2


def test_small_networks_of_schema_1_are_collected_and_rebuild(data: Path, tmp_path: Path) -> None:
    planned = next(small_net.plan(["digits"], seed=4))
    log = small_cnn.train_run(
        planned, small_cnn.GreyTask.of(read_task(data, "digits", 10_000)), keep_raw=True
    )
    old, out = tmp_path / "old", tmp_path / "out"
    old.mkdir()
    pd.DataFrame([asdict(row) for row in log.rows]).drop(columns="hub").to_parquet(old / "shard-1.parquet")
    save_file(log.raw, old / "shard-1.raw.safetensors")
    names = ("shard-1.parquet", "shard-1.raw.safetensors")
    files = {name: hashlib.sha256((old / name).read_bytes()).hexdigest() for name in names}
    (old / "manifest.jsonl").write_text(json.dumps({"schema_version": 1, "rows": 13, "files": files}) + "\n")
    assert collect([old], out, Kept(raw_epochs=frozenset({1})), data) == 1
    corpus = read_corpus(out)
    assert corpus.refused == ()
    assert {key.split("/")[1] for key in corpus.tensors("raw")} == {"1", "12"}
    assert corpus.graphs.keys() == log.graphs.keys()
    last = f"{planned.id}/12"
    off = np.abs(corpus.graphs[last].sketch - log.graphs[last].sketch)
    assert (off <= np.ptp(log.graphs[last].sketch, axis=0) / 500 + 0.02).all()
    assert [rebuilt.largest for rebuilt in verify(out, data, runs=1, seed=0)] == [0.0]


def test_a_candidate_without_a_head_of_its_own_has_no_leep(data: Path) -> None:
    (row,) = read_table(RECORDED, TaskRow)
    found = probe(resolve("scratch:test_resnet"), read_task(data, row.name, row.images), row)
    assert (found.leep, found.nce) == (None, None)
    assert found.knn is not None
    assert found.knn > 0.3


def test_probes_are_fitted_once_and_better_than_chance(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(RECORDED, folder)
    assert probe_all(folder, data, seconds=0.0) == 0
    assert probe_all(folder, data, seconds=600.0) == 2
    assert probe_all(folder, data, seconds=600.0) == 0
    for row in read_table(folder, ProbeRow):
        assert row.features == 256
        assert row.regularisation in REGULARISATIONS
        assert 0.5 < row.test_score < 1.0
        assert abs(row.validation_score - row.test_score) < 0.25
        assert row.logme is not None
        assert -2 < row.logme < 2
        assert row.h_score is not None
        assert 1 < row.h_score < 9
        assert row.knn is not None
        assert 0.4 < row.knn < 1
        assert row.linear is not None
        assert 0.4 < row.linear < 1
        assert row.leep is not None
        assert row.nce is not None
        assert -math.log(10) < min(row.leep, row.nce) < max(row.leep, row.nce) < 0
    assert json.loads(json.dumps(read_table(folder, ProbeRow)[0].__dict__))["task"] == "digits"
    (embedded,) = read_table(folder, EmbeddingRow)
    assert (embedded.task, tuple(embedded.embedding)) == ("digits", EMBEDDING)
    assert 0 < embedded.embedding["class_share"] < 1
