"""`select`, end to end: real networks, real images, real files."""

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float
from PIL import Image
from sklearn.datasets import load_digits

import fms_hub
from fms_hub.cli.leaderboard import BEYOND, told
from fms_hub.errors import (
    BudgetError,
    CandidateError,
    OutputError,
    ResumeError,
    SearchError,
    SpaceError,
    TaskError,
    UsageError,
)
from fms_hub.hub.about import read_about
from fms_hub.hub.logbook import FILE_NAME, read_history
from fms_hub.search.winner import RESULT
from fms_hub.tasks.task import Task, task_from_arrays

CANDIDATES = ["scratch:test_resnet", "scratch:test_vit"]
SMALL = ConfigurationSpace({"learning_rate": (1e-4, 1e-2), "dropout": (0.0, 0.3)}, seed=0)


def small_digits(images: int = 240) -> Task:
    """Real scans, few enough that an epoch takes a fraction of a second."""
    scans = load_digits()
    pixels = np.clip(scans.images[:images] * 16, 0, 255).astype(np.uint8)
    return task_from_arrays(
        "small-digits", [str(c) for c in range(10)], train=(pixels, scans.target[:images])
    )


@pytest.fixture(scope="module")
def task() -> Task:
    return small_digits()


def search(task: Task, out: Path, budget: str = "7 epochs", **changes: object) -> fms_hub.Selection:
    settings: dict[str, object] = {
        "max_epochs": 3,
        "image_size": 32,
        "progress": False,
        "space": SMALL,
        "surrogate": "scratch",
    }
    return fms_hub.select(task, CANDIDATES, budget=budget, out=out, **{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def selection(task: Task, tmp_path_factory: pytest.TempPathFactory) -> fms_hub.Selection:
    return search(task, tmp_path_factory.mktemp("search") / "out")


@pytest.mark.parametrize(
    ("candidate", "surrogate", "beyond"),
    [
        ("scratch:resnet10t", "bundled", True),  # 5 million parameters, the corpus has up to 0.5
        ("scratch:test_resnet", "bundled", False),
        ("scratch:resnet10t", "scratch", False),  # it was trained on nothing
    ],
)
def test_candidates_beyond_what_the_surrogate_was_trained_on_are_marked(
    task: Task,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    candidate: str,
    surrogate: str,
    beyond: bool,
) -> None:
    found = fms_hub.select(
        task, [candidate], budget="1 epoch", max_epochs=1, image_size=32, surrogate=surrogate, out=tmp_path
    )
    assert (found.outside[candidate] > 0.1) == beyond
    assert found.leaderboard()["outside"].tolist() == [found.outside[candidate]]
    assert found.to_json()["leaderboard"][0]["outside"] == found.outside[candidate]
    shown = told(found)
    assert (f"{candidate} *" in shown) == (BEYOND in shown) == beyond
    assert (f"less sure of them: {candidate}\n" in capsys.readouterr().err) == beyond


def test_the_budget_is_spent_to_the_last_epoch_on_runs_within_the_horizon(
    selection: fms_hub.Selection,
) -> None:
    assert selection.spent.epochs == len(selection.history) == 7
    assert selection.spent.seconds > 0
    assert all(1 <= o.epoch <= o.horizon == 3 for o in selection.history)


def test_the_folder_says_what_the_search_was_about_without_class_names(
    selection: fms_hub.Selection, task: Task
) -> None:
    about = read_about(selection.out)
    assert (about.fingerprint, about.classes, about.sizes) == (task.info.fingerprint, 10, task.info.sizes)
    assert about.features == pytest.approx(dict(task.info.features))
    assert (about.metric, about.image_size, about.device) == ("accuracy", 32, "cpu")
    assert [(c.name, c.family, c.repo) for c in about.candidates] == [
        ("scratch:test_resnet", "resnet", None),
        ("scratch:test_vit", "vision_transformer", None),
    ]
    assert about.candidates[0].parameters == 373_658
    assert about.surrogate == selection.surrogate == "scratch"
    assert "small-digits" not in (selection.out / "about.json").read_text()


def test_validation_chooses_and_the_best_is_on_top(selection: fms_hub.Selection) -> None:
    board = selection.leaderboard()
    assert selection.best.score == max(o.score for o in selection.history if o.score is not None)
    assert board.index[0] == selection.best.run
    assert board["score"].is_monotonic_decreasing
    assert board["epochs"].sum() == 7
    assert set(board["licence"]) == {None} and set(board["gated"]) == {False}


def test_the_checkpoint_really_scores_what_the_log_says(selection: fms_hub.Selection, task: Task) -> None:
    guesses = selection.predict(task.validation.images)
    labels = [task.info.classes[label] for label in task.validation.labels]
    assert np.mean([g == t for g, t in zip(guesses, labels, strict=True)]) == pytest.approx(
        selection.best.score
    )
    guesses = selection.predict(task.test.images)
    labels = [task.info.classes[label] for label in task.test.labels]
    assert np.mean([g == t for g, t in zip(guesses, labels, strict=True)]) == pytest.approx(
        selection.best.test_score
    )


def test_predict_takes_files_arrays_and_images(
    selection: fms_hub.Selection, tmp_path: Path, task: Task
) -> None:
    image = task.test.images[0]
    image.save(tmp_path / "scan.png")
    rows = selection.probabilities(
        [tmp_path / "scan.png", str(tmp_path / "scan.png"), np.asarray(image), image]
    )
    assert rows.shape == (4, 10)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, rtol=1e-5)
    assert (rows == rows[0]).all()
    with pytest.raises(TaskError, match="image 0"):
        selection.predict([np.zeros((4, 4))])  # type: ignore[list-item]
    with pytest.raises(TaskError, match=r"absent\.png"):
        selection.predict([tmp_path / "absent.png"])


def test_the_saved_folder_opens_in_timm_with_equal_outputs(
    selection: fms_hub.Selection, tmp_path: Path
) -> None:
    folder = selection.save(tmp_path / "best")
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    ours = selection.load_best()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(theirs(pixels), ours(pixels))
    assert f"{selection.best.test_score:.4f}" in (folder / "README.md").read_text()


def test_on_disk_are_the_last_checkpoint_of_each_run_and_the_best(selection: fms_hub.Selection) -> None:
    last = {o.run: o.checkpoint for o in selection.history}
    expected = {*last.values(), selection.best.checkpoint}
    assert {f"checkpoints/{p.name}" for p in (selection.out / "checkpoints").iterdir()} == expected
    assert not list(selection.out.rglob("*.pt")) + list(selection.out.rglob("*.pkl"))


def test_running_it_again_trains_nothing_and_scores_no_test_twice(
    selection: fms_hub.Selection, task: Task
) -> None:
    before = (selection.out / FILE_NAME).read_bytes()
    result = selection.out / RESULT
    stored = json.loads(result.read_text())
    result.write_text(json.dumps({**stored, "test_score": 0.123}))
    again = search(task, selection.out)
    assert (selection.out / FILE_NAME).read_bytes() == before
    assert again.best.test_score == 0.123
    result.write_text(json.dumps(stored))


def test_a_larger_budget_goes_on_from_the_log(task: Task, tmp_path: Path) -> None:
    short = search(task, tmp_path, "3 epochs")
    longer = search(task, tmp_path, "5 epochs")
    assert longer.history[:3] == short.history
    assert len(longer.history) == 5


def outcome(history: tuple[fms_hub.Observation, ...]) -> list[tuple[object, ...]]:
    return [(o.run, o.candidate, dict(o.hyperparameters), o.epoch, o.score, o.train_loss) for o in history]


def test_equal_seeds_give_equal_searches_and_leave_the_users_state_alone(
    selection: fms_hub.Selection, task: Task, tmp_path: Path
) -> None:
    torch.manual_seed(11)
    np.random.seed(12)
    random.seed(13)
    states = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    again = search(task, tmp_path)
    assert outcome(again.history) == outcome(selection.history)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])
    assert states[2] == random.getstate()


def test_the_leaderboard_is_a_table_and_json_says_the_same(selection: fms_hub.Selection) -> None:
    board = selection.leaderboard()
    assert isinstance(board, pd.DataFrame)
    told = json.loads(json.dumps(selection.to_json()))
    assert told["best"]["score"] == selection.best.score
    assert [row["score"] for row in told["leaderboard"]] == board["score"].tolist()
    columns = {"candidate", "hyperparameters", "score", "epochs", "status", "outside", "licence", "gated"}
    assert set(told["leaderboard"][0]) == columns
    assert told["budget"]["epochs"] == 7


def test_a_diverging_run_is_logged_charged_and_never_the_best(task: Task, tmp_path: Path) -> None:
    space = ConfigurationSpace(seed=0)
    space.add(
        Categorical("learning_rate", [1e6, 1e-2], default=1e6),
        Float("dropout", (0.0, 0.5), default=0.0),
    )
    found = search(task, tmp_path, "6 epochs", space=space)
    failed = [o for o in found.history if o.status == "failed"]
    assert failed
    assert {o.reason for o in failed} == {"diverged"}
    assert found.spent.epochs == 6
    assert all(o.run not in {f.run for f in failed} for o in found.history if o.epoch > 1)
    assert found.best.hyperparameters["learning_rate"] == 1e-2
    assert any("diverged" in status for status in found.leaderboard()["status"])


def test_a_search_in_which_everything_fails_says_so(task: Task, tmp_path: Path) -> None:
    space = ConfigurationSpace(seed=0)
    space.add(
        Constant("learning_rate", 1e6),
        Float("dropout", (0.0, 0.5), default=0.0),
    )
    with pytest.raises(SearchError, match="all 2 epochs failed \\(diverged\\)"):
        search(task, tmp_path, "2 epochs", space=space)
    assert len(read_history(tmp_path)) == 2


def test_keep_checkpoints_bounds_the_disk(task: Task, tmp_path: Path) -> None:
    found = search(task, tmp_path, "6 epochs", keep_checkpoints=1)
    assert len(list((tmp_path / "checkpoints").iterdir())) <= 2
    assert found.load_best()


def test_a_time_budget_ends_the_search(task: Task, tmp_path: Path) -> None:
    found = search(task, tmp_path, "6s")
    assert 0 < found.spent.seconds < 12


def test_without_a_budget_one_is_derived_and_printed(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = fms_hub.select(
        task, CANDIDATES[:1], max_epochs=1, image_size=32, out=tmp_path, progress=False, space=SMALL
    )
    assert found.spent.epochs == 2 * 1 + 3 * 1
    assert "budget: 5 epochs" in capsys.readouterr().err


@pytest.mark.parametrize("budget", ["0 epochs", "-3 epochs", "0s", "soon", "2.5 epochs", "0.001s"])
def test_a_budget_that_cannot_be_is_refused_before_anything_is_written(
    task: Task, tmp_path: Path, budget: str
) -> None:
    with pytest.raises(BudgetError):
        search(task, tmp_path / "out", budget)
    assert not (tmp_path / "out" / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("changes", "error", "why"),
    [
        ({"metric": "auc"}, UsageError, "metric must be one of"),
        ({"max_epochs": 0}, BudgetError, "max_epochs"),
        ({"keep_checkpoints": 0}, UsageError, "keep_checkpoints"),
        ({"device": "cuda:99"}, UsageError, "cuda:99"),
        ({"space": ConfigurationSpace({"temperature": (0.0, 1.0)})}, SpaceError, "temperature"),
        ({"space": ConfigurationSpace({"dropout": (0.0, 3.0)})}, SpaceError, "dropout"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    task: Task, tmp_path: Path, changes: dict[str, object], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        search(task, tmp_path / "out", **changes)
    assert not (tmp_path / "out" / FILE_NAME).exists()


def test_resuming_with_other_things_is_refused_naming_them(selection: fms_hub.Selection, task: Task) -> None:
    before = (selection.out / FILE_NAME).read_bytes()
    other = ConfigurationSpace({"learning_rate": (1e-4, 1e-1), "dropout": (0.0, 0.3)})
    with pytest.raises(ResumeError, match="space"):
        search(task, selection.out, space=other)
    with pytest.raises(ResumeError, match="dataset"):
        search(small_digits(230), selection.out)
    with pytest.raises(ResumeError, match="candidates"):
        fms_hub.select(
            task, CANDIDATES[:1], budget="7 epochs", max_epochs=3, image_size=32, out=selection.out,
            progress=False, space=SMALL,
        )  # fmt: skip
    assert (selection.out / FILE_NAME).read_bytes() == before


def test_an_unwritable_folder_is_refused_before_training(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        search(task, tmp_path / "file" / "out")


def test_one_image_folder_from_the_disk_is_enough(tmp_path: Path) -> None:
    scans = load_digits()
    for label in (0, 1):
        folder = tmp_path / "data" / f"digit-{label}"
        folder.mkdir(parents=True)
        for i in np.flatnonzero(scans.target == label)[:30]:
            pixels = np.clip(scans.images[i] * 16, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((40, 32)).save(folder / f"{i}.png")
    found = fms_hub.select(
        tmp_path / "data", "scratch:test_resnet", budget="2 epochs", image_size=32, out=tmp_path / "out",
        progress=False,
    )  # fmt: skip
    assert found.classes == ("digit-0", "digit-1")


def test_an_unknown_candidate_is_refused_with_its_nearest_names(task: Task, tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match="resnet18"):
        fms_hub.select(task, "resnet1", budget="2 epochs", out=tmp_path / "out")
