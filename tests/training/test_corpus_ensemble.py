"""Networks that are trained together come out as if each had been trained alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fms_hub.corpus.shards import read_corpus
from fms_hub.tasks.dataset import load_task
from training.corpus.ensemble import Form, train_together
from training.corpus.plan import PlannedRun
from training.corpus.small_cnn import GreyTask, train_run
from training.corpus.together import sweep

HORIZON = 2
CONFIGURATION = {
    "initialisation": "he_normal", "initial_scale": 1.0, "activation": "relu", "optimiser": "adam",
    "learning_rate": 5e-3, "weight_decay": 1e-3, "dropout": 0.0, "batch_size": 64, "train_fraction": 0.3,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def task() -> GreyTask:
    return GreyTask.of(load_task("digits", seed=0))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Real scans in the layout of the corpus' datasets."""
    scans = load_digits()
    pixels = np.clip(scans.images * 16, 0, 255).astype(np.uint8)
    np.savez(
        tmp_path / "scans.npz",
        x_train=pixels[:400],
        y_train=scans.target[:400].astype(np.int16),
        x_test=pixels[400:460],
        y_test=scans.target[400:460].astype(np.int16),
        class_names=np.array([str(c) for c in range(10)]),
        meta=json.dumps({"repo": "scikit-learn", "commit": "0", "licence": "CC BY 4.0", "format": "raw"}),
    )
    return tmp_path


def run(horizon: int = HORIZON, **changes: object) -> PlannedRun:
    return PlannedRun("digits", "small-cnn", CONFIGURATION | changes, horizon, 0)


def three(optimiser: str) -> list[PlannedRun]:
    """Runs that differ in all that may differ within an ensemble."""
    rate = 0.05 if optimiser == "sgd" else 5e-3
    return [
        run(optimiser=optimiser, learning_rate=rate),
        run(optimiser=optimiser, learning_rate=rate / 3, activation="tanh", dropout=0.3, weight_decay=1e-6),
        run(optimiser=optimiser, learning_rate=rate / 2, initialisation="orthogonal", dropout=0.1),
    ]


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "rmsprop"])
def test_three_networks_together_equal_three_alone(task: GreyTask, optimiser: str) -> None:
    runs = three(optimiser)
    together = train_together(runs, task, device="cpu", keep_raw=lambda _: True)
    for one, log in zip(runs, together, strict=True):
        alone = train_run(one, task, keep_raw=True)
        assert [(row.run, row.epoch, row.status, row.sketch) for row in log.rows] == [
            (row.run, row.epoch, row.status, row.sketch) for row in alone.rows
        ]
        assert log.raw.keys() == alone.raw.keys()
        for key, weights in alone.raw.items():
            np.testing.assert_allclose(log.raw[key], weights, rtol=2e-2, atol=2e-3, err_msg=key)
        for row, expected in zip(log.rows, alone.rows, strict=True):
            assert row.validation_score == pytest.approx(expected.validation_score, abs=0.02)
        losses = [[row.train_loss for row in rows] for rows in (log.rows, alone.rows)]
        assert losses[0][0] is losses[1][0] is None
        assert losses[0][1:] == pytest.approx(losses[1][1:], rel=1e-3)
        assert log.rows[-1].test_score == pytest.approx(alone.rows[-1].test_score, abs=0.02)
        assert log.graphs.keys() == alone.graphs.keys()


def test_a_part_of_the_images_is_drawn_as_alone(task: GreyTask) -> None:
    runs = [run(1, train_fraction=0.25), run(1, train_fraction=0.25, dropout=0.5)]
    for one, log in zip(
        runs, train_together(runs, task, device="cpu", keep_raw=lambda _: False), strict=True
    ):
        alone = train_run(one, task, keep_raw=False)
        assert log.rows[-1].train_loss == pytest.approx(alone.rows[-1].train_loss, rel=1e-4)
        assert log.raw == {}


def test_one_that_diverges_leaves_the_others_alone(task: GreyTask) -> None:
    wild, tame = run(optimiser="sgd", learning_rate=1e30), run(optimiser="sgd", learning_rate=1e-2)
    logs = train_together([wild, tame], task, device="cpu", keep_raw=lambda _: False)
    assert (logs[0].rows[-1].status, logs[0].rows[-1].reason) == ("failed", "diverged")
    assert [row.epoch for row in logs[0].rows] == [
        row.epoch for row in train_run(wild, task, keep_raw=False).rows
    ]
    alone = train_run(tame, task, keep_raw=False)
    assert logs[1].rows[-1].train_loss == pytest.approx(alone.rows[-1].train_loss, rel=1e-3)


def test_networks_of_several_forms_are_refused(task: GreyTask) -> None:
    with pytest.raises(ValueError, match="one form, found 2"):
        train_together([run(), run(batch_size=32)], task, device="cpu", keep_raw=lambda _: False)
    assert Form.of(run(train_fraction=0.5), 8000) == Form.of(run(dropout=0.2, train_fraction=1.0), 3000)
    assert Form.of(run(train_fraction=0.1), 8000) != Form.of(run(train_fraction=0.5), 8000)


def test_a_sweep_gathers_runs_of_one_form_and_goes_on(data: Path, tmp_path: Path) -> None:
    def planned() -> Iterator[PlannedRun]:
        for i in range(6):
            values = CONFIGURATION | {"batch_size": 64 if i % 3 else 32, "weight_decay": 10.0 ** -(i + 2)}
            yield PlannedRun("scans", "small-cnn", values, 1, 0)

    settings = {
        "data": data,
        "out": tmp_path / "out",
        "seconds": 600.0,
        "raw_every": 1,
        "together": 3,
        "device": "cpu",
    }
    assert sweep(planned(), runs=4, **settings) == 4  # type: ignore[arg-type]
    assert sweep(planned(), runs=6, **settings) == 2  # type: ignore[arg-type]
    corpus = read_corpus(tmp_path / "out")
    assert set(corpus.rows["run"]) == {one.id for one in planned()}
    assert len(corpus.tensors("raw")) == 6 * 2 * 8
