"""`select` where self-tuning is one of the values that the search may choose."""

from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from sklearn.datasets import load_digits

import fms_hub
from fms_hub.errors import TaskError
from fms_hub.hub.logbook import read_history
from fms_hub.tasks.task import Task, task_from_arrays


def digits(images: int) -> Task:
    scans = load_digits()
    pixels = np.clip(scans.images[:images] * 16, 0, 255).astype(np.uint8)
    return task_from_arrays("d", [str(c) for c in range(10)], train=(pixels, scans.target[:images]))


def search(task: Task, out: Path) -> fms_hub.Selection:
    space = ConfigurationSpace(seed=0)
    space.add(Categorical("self_tuning", [False, True]), Float("learning_rate", (1e-3, 1e-2), log=True))
    return fms_hub.select(
        task,
        ["scratch:test_resnet"],
        budget="5 epochs",
        max_epochs=2,
        image_size=32,
        progress=False,
        space=space,
        surrogate="scratch",
        out=out,
    )


def test_runs_with_and_without_it_compete_and_come_back_from_the_log(tmp_path: Path) -> None:
    task = digits(240)
    selection = search(task, tmp_path / "a")
    history = read_history(tmp_path / "a")
    assert {row.hyperparameters["self_tuning"] for row in history} == {False, True}
    assert all(row.status == "ok" for row in history)
    assert any(row.epoch == 2 and row.hyperparameters["self_tuning"] for row in history)
    rows = selection.probabilities([task.validation.images[i] for i in range(len(task.validation.labels))])
    assert (rows.argmax(axis=1) == task.validation.labels).mean() == pytest.approx(selection.best.score)


def test_too_few_images_end_the_search_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="at least 16 to tune on"):
        search(digits(100), tmp_path / "b")
    assert not (tmp_path / "b").exists()
