"""`select` from an imported log: the search is its own, what it starts from is not."""

from pathlib import Path

import pytest
from test_select import SMALL, search, small_digits

from fms_hub.errors import ResumeError, UsageError
from fms_hub.hub.importers.log import import_log
from fms_hub.search.select import _folder, _identity
from fms_hub.search.space import Space
from fms_hub.search.warm_start import read_earlier
from fms_hub.tasks.task import Task

COLUMNS = {"run": "id", "epoch": "ep", "score": "acc", "candidate": "model", "learning_rate": "lr"}
TABLE = """id,ep,acc,model,lr
a,1,0.90,scratch:test_resnet,0.01
a,2,0.99,scratch:test_resnet,0.01
b,1,0.10,scratch:test_resnet,0.00001
b,2,0.11,scratch:test_resnet,0.00001
c,1,0.20,scratch:test_vit,0.01
c,2,0.21,scratch:test_vit,0.01
"""


@pytest.fixture(scope="module")
def task() -> Task:
    return small_digits()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    (folder / "runs.csv").write_text(TABLE)
    return import_log(
        folder / "runs.csv", "csv", out=folder / "log", columns=COLUMNS, metric="accuracy"
    ).folder


def test_a_warm_search_trains_and_returns_its_own_runs_alone(
    task: Task, earlier: Path, tmp_path: Path
) -> None:
    selection = search(task, tmp_path / "out", budget="3 epochs", warm_start=[earlier])
    assert selection.spent.epochs == len(selection.history) == 3
    assert all(o.run >= 0 and o.checkpoint is not None for o in selection.history)
    assert selection.best.score == max(o.score or 0.0 for o in selection.history)
    assert selection.history[0].candidate == "scratch:test_resnet"
    study = selection.to_optuna(SMALL)
    assert len(study.trials) == len({o.run for o in selection.history})
    again = search(task, tmp_path / "out", budget="3 epochs", warm_start=[earlier])
    assert again.history == selection.history
    with pytest.raises(ResumeError, match="warm_start"):
        search(task, tmp_path / "out", budget="3 epochs")


def test_a_log_of_another_metric_is_refused_before_anything_is_written(
    task: Task, earlier: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="another metric"):
        search(task, tmp_path / "out", metric="macro_f1", warm_start=[earlier])
    assert not (tmp_path / "out").exists()


def test_without_a_folder_a_warm_search_has_one_of_its_own(task: Task, earlier: Path) -> None:
    space = Space(SMALL)
    identity = _identity(task, [], "accuracy", 32)
    warm = read_earlier([earlier], ["scratch:test_vit"], space, identity=identity, out=None).identity
    folders = {_folder(None, task, {**identity, **more}, 3, 0, space) for more in ({}, warm)}
    assert len(folders) == 2
