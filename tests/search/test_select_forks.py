"""`select` where runs may go on from other runs' checkpoints."""

from pathlib import Path

import pytest
from ConfigSpace import ConfigurationSpace, Float
from test_select_self_tuning import digits

import fms_hub
from fms_hub.finetune.checkpoint import read
from fms_hub.hub.logbook import read_history


def test_forks_are_trained_kept_ranked_and_come_back_from_the_log(tmp_path: Path) -> None:
    task = digits(240)
    space = ConfigurationSpace(seed=0)
    space.add(Float("learning_rate", (1e-3, 1e-2), log=True))

    def search() -> fms_hub.Selection:
        return fms_hub.select(
            task,
            ["scratch:test_resnet"],
            budget="14 epochs",
            max_epochs=5,
            image_size=32,
            progress=False,
            space=space,
            surrogate="scratch",
            forking=True,
            out=tmp_path / "a",
        )

    selection = search()
    history = read_history(tmp_path / "a")
    assert history == selection.history
    forked = {o.run: o.parent for o in history if o.parent is not None}
    assert forked
    for observation in history:
        if observation.run in forked and (tmp_path / "a" / str(observation.checkpoint)).exists():
            state = read(tmp_path / "a" / str(observation.checkpoint)).state
            assert (state.run, state.epoch) == (observation.run, observation.epoch)
    board = selection.leaderboard()
    assert board.parent.dropna().to_dict() == {run: f"{p.run}@{p.epoch}" for run, p in forked.items()}
    assert sum("parent" in row and row["parent"] is not None for row in selection.to_json()["leaderboard"])
    rows = selection.probabilities([task.validation.images[i] for i in range(len(task.validation.labels))])
    assert (rows.argmax(axis=1) == task.validation.labels).mean() == pytest.approx(selection.best.score)
    assert search().history == history
