"""The corpus runner: planned runs are trained once, logged whole, and repeat from their plan."""

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from fms_hub.corpus.shards import read_graphs, read_shards, read_tensors
from fms_hub.finetune.trainer import Trainer
from training.corpus.plan import PlannedRun, keeps_raw, plan
from training.corpus.run import Settings, sweep, train_run
from training.data import read_npz

CANDIDATES = ("scratch:test_resnet", "scratch:test_vit")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real scans in the layout of the corpus' datasets."""
    folder = tmp_path_factory.mktemp("data")
    scans = load_digits()
    pixels = np.clip(scans.images * 16, 0, 255).astype(np.uint8)
    np.savez(
        folder / "scans.npz",
        x_train=pixels[:200],
        y_train=scans.target[:200].astype(np.int16),
        x_test=pixels[200:260],
        y_test=scans.target[200:260].astype(np.int16),
        class_names=np.array([str(c) for c in range(10)]),
        meta=json.dumps({"repo": "scikit-learn", "commit": "0", "licence": "CC BY 4.0", "format": "raw"}),
    )
    return folder


def settings(data: Path, out: Path) -> Settings:
    return Settings(
        data, out, hub="scans", images=200, image_size=32, seconds=600.0, timed=False, device="cpu"
    )


def planned(runs: int) -> list[PlannedRun]:
    return list(itertools.islice(plan(["scans"], CANDIDATES, [2, 3], seed=0), runs))


@pytest.fixture(scope="module")
def swept(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("corpus")
    assert sweep(iter(planned(3)), settings(data, out), 3) == 3
    return out


def test_a_plan_is_endless_seeded_and_begins_with_defaults() -> None:
    runs = planned(8)
    assert runs == planned(8)
    assert len({run.id for run in runs}) == 8
    assert [run.horizon for run in runs] == [2, 2, 3, 3, 2, 2, 3, 3]
    assert runs[0].hyperparameters == runs[1].hyperparameters != runs[2].hyperparameters
    assert runs[2].hyperparameters != runs[3].hyperparameters
    other = next(plan(["scans"], CANDIDATES, [2], seed=1))
    assert other.id != runs[0].id


def test_every_epoch_is_a_row_and_the_last_has_a_test_score(swept: Path) -> None:
    rows = read_shards(swept)
    assert [list(run["epoch"]) for _, run in rows.groupby("run", sort=False)] == [[1, 2], [1, 2], [1, 2, 3]]
    last = rows["epoch"] == rows["horizon"]
    assert rows.loc[last, "test_score"].between(0, 1).all()
    assert rows.loc[~last, "test_score"].isna().all()
    assert rows["seconds"].isna().all()
    graphs = read_graphs(swept)
    assert set(rows["sketch"].dropna()) == set(graphs) == set(read_tensors(swept, "plain"))
    assert {graph.structure.head is not None for graph in graphs.values()} == {True}


def test_a_sweep_goes_on_where_it_stopped(swept: Path, data: Path) -> None:
    before = (swept / "manifest.jsonl").read_text()
    assert sweep(iter(planned(3)), settings(data, swept), 3) == 0
    assert sweep(iter(planned(4)), settings(data, swept), 4) == 1
    assert (swept / "manifest.jsonl").read_text().startswith(before)
    assert read_shards(swept)["run"].nunique() == 4


def test_a_run_repeats_from_its_plan(swept: Path, data: Path, tmp_path: Path) -> None:
    run = planned(1)[0]
    sweep(iter([run]), settings(data, tmp_path), 1)
    columns = ["epoch", "train_loss", "validation_score", "test_score"]
    logged = read_shards(swept).query("run == @run.id")[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(read_shards(tmp_path)[columns], logged)


def test_a_diverging_run_ends_with_its_reason(data: Path) -> None:
    trainer = Trainer(read_npz(data / "scans.npz"), image_size=32, device="cpu")
    wild = PlannedRun("scans", CANDIDATES[0], {"learning_rate": 1e6}, 3, 0)
    rows = train_run(wild, trainer, hub="scans", timed=False).rows
    assert rows[-1].status == "failed"
    assert (rows[-1].reason, rows[-1].validation_score) == ("diverged", None)
    assert len(rows) <= 3


def test_the_weights_of_a_run_are_kept_in_half_precision_where_asked(data: Path) -> None:
    trainer = Trainer(read_npz(data / "scans.npz"), image_size=32, device="cpu")
    run = planned(1)[0]
    assert not train_run(run, trainer, hub="scans", timed=False).raw
    log = train_run(run, trainer, hub="scans", timed=False, keep_raw=True)
    assert {key.rsplit("/", 1)[0] for key in log.raw} == set(log.graphs)
    assert {value.dtype for value in log.raw.values()} == {np.dtype(np.float16)}
    structure = next(iter(log.graphs.values())).structure
    assert {owned.name for owned in structure.tensors} == {key.split("/", 2)[2] for key in log.raw}


def test_about_one_run_in_so_many_keeps_its_weights() -> None:
    runs = planned(60)
    assert not any(keeps_raw(run, 0) for run in runs)
    assert all(keeps_raw(run, 1) for run in runs)
    assert 5 < sum(keeps_raw(run, 4) for run in runs) < 30
