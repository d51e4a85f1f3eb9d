"""Hugging Face Trainer: the files beside this one were written by a Trainer of transformers 5.23.

A ViT of one layer on scikit-learn's digits, 3 epochs, evaluated and saved after each; ``trainer_evaluated``
is the state after one more ``trainer.evaluate()``.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from fms_hub.errors import CandidateError, UsageError
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.logbook import read_history, read_identity

HERE = Path(__file__).parent
STATE = json.loads((HERE / "trainer" / "trainer_state.json").read_text())


def changed(folder: Path, change: Any = None, **fields: object) -> Path:
    """The real state, with one thing changed."""
    state = json.loads(json.dumps(STATE)) | fields
    if change is not None:
        change(state["log_history"])
    folder.mkdir(exist_ok=True)
    (folder / "trainer_state.json").write_text(json.dumps(state))
    return folder


def imported(source: Path, out: Path, **options: Any) -> list[Any]:
    import_log(source, "trainer", out=out, candidate="scratch:vit", **options)
    return list(read_history(out))


def test_a_real_output_folder_becomes_a_run(tmp_path: Path) -> None:
    found = import_log(HERE / "trainer", "trainer", out=tmp_path, candidate="google/vit")
    history = read_history(tmp_path)
    assert (found.runs, found.epochs, found.failed, found.metric, found.notices) == (1, 3, 0, "accuracy", ())
    assert [(o.run, o.epoch, o.horizon, o.score) for o in history] == [
        (0, 1, 3, 0.205), (0, 2, 3, 0.35), (0, 3, 3, 0.35),
    ]  # fmt: skip
    assert history[0].candidate == "google/vit"
    # 32 images on a device, gradients of 2 batches accumulated.
    assert history[0].hyperparameters == {
        "batch_size": 64,
        "label_smoothing": 0.1,
        "learning_rate": 0.003,
        "optimizer": "adamw",
        "weight_decay": 0.05,
    }
    # Losses were logged every 5 steps of 7: after epochs 0.77; 1.46; 2.15 and 2.92.
    assert [o.train_loss for o in history] == pytest.approx(
        [2.318705, 2.245471, (2.072210 + 2.003334) / 2], abs=1e-6
    )
    assert history[0].seconds == pytest.approx(1.4861 / 3)
    assert read_identity(tmp_path)["imported"] == "trainer"


@pytest.mark.parametrize("place", ["trainer/trainer_state.json", "trainer/checkpoint-21", "trainer"])
def test_file_checkpoint_and_folder_hold_the_same_run(tmp_path: Path, place: str) -> None:
    history = imported(HERE / place, tmp_path)
    assert [o.score for o in history] == [0.205, 0.35, 0.35]
    assert history[0].hyperparameters["learning_rate"] == 0.003


def test_of_a_folder_with_checkpoints_alone_the_last_is_read(tmp_path: Path) -> None:
    early = json.loads(json.dumps(STATE))
    early["log_history"] = [e for e in early["log_history"] if e["epoch"] <= 1]
    for number, state in ((7, early), (21, STATE), (14, early)):
        (tmp_path / "run" / f"checkpoint-{number}").mkdir(parents=True)
        (tmp_path / "run" / f"checkpoint-{number}" / "trainer_state.json").write_text(json.dumps(state))
    assert len(imported(tmp_path / "run", tmp_path / "log")) == 3
    # A run that was resumed and killed: its checkpoint knows more than the state of its first end.
    (tmp_path / "run" / "trainer_state.json").write_text(json.dumps(early))
    assert len(imported(tmp_path / "run", tmp_path / "log2")) == 3


def test_a_second_evaluation_of_the_same_network_counts_once(tmp_path: Path) -> None:
    assert len(imported(HERE / "trainer_evaluated", tmp_path)) == 3


def test_without_arguments_the_batch_size_alone_is_known_and_it_says_so(tmp_path: Path) -> None:
    shutil.copytree(HERE / "trainer_evaluated", tmp_path / "run")
    (tmp_path / "run" / "training_args.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    found = import_log(tmp_path / "run", "trainer", out=tmp_path / "log", candidate="x")
    assert found.hyperparameters == ("batch_size",)
    assert "pickle and is never opened" in found.notices[0]
    assert read_history(tmp_path / "log")[0].hyperparameters == {"batch_size": 32}


def test_a_folder_of_folders_is_many_runs(tmp_path: Path) -> None:
    for name in ("b", "a"):
        shutil.copytree(HERE / "trainer", tmp_path / "runs" / name)
    found = import_log(tmp_path / "runs", "trainer", out=tmp_path / "log", candidate="x")
    assert (found.runs, found.epochs) == (2, 6)


def test_evaluating_before_training_is_no_epoch(tmp_path: Path) -> None:
    source = changed(
        tmp_path / "run", lambda log: log.insert(0, {"epoch": 0, "step": 0, "eval_accuracy": 0.1})
    )
    assert [o.score for o in imported(source, tmp_path / "log")] == [0.205, 0.35, 0.35]


def test_a_trainer_that_counts_steps_plans_no_epochs(tmp_path: Path) -> None:
    source = changed(tmp_path / "run", num_train_epochs=sys.maxsize)
    assert {o.horizon for o in imported(source, tmp_path / "log")} == {3}


def test_the_order_of_the_log_does_not_matter(tmp_path: Path) -> None:
    source = changed(tmp_path / "run", lambda log: log.reverse())
    assert [o.score for o in imported(source, tmp_path / "log")] == [0.205, 0.35, 0.35]


def evaluation(log: list[dict[str, Any]], epoch: float) -> dict[str, Any]:
    return next(e for e in log if e["epoch"] == epoch and "eval_accuracy" in e)


def test_nan_from_some_epoch_on_is_a_failed_run(tmp_path: Path) -> None:
    def diverge(log: list[dict[str, Any]]) -> None:
        for epoch in (2.0, 3.0):
            evaluation(log, epoch)["eval_accuracy"] = math.nan

    history = imported(changed(tmp_path / "run", diverge), tmp_path / "log")
    assert [(o.epoch, o.score, o.status, o.reason) for o in history] == [
        (1, 0.205, "ok", None),
        (2, None, "failed", "diverged"),
    ]


REFUSED = [
    (lambda log: log.remove(evaluation(log, 2.0)), "has no epoch 2, found 1, 3"),
    (lambda log: log.append({**evaluation(log, 2.0), "eval_accuracy": 0.9}), "has epoch 2 twice"),
    (lambda log: evaluation(log, 2.0).update(epoch=1.5), r"after 1.5 epochs \(step 14\)"),
    (lambda log: evaluation(log, 2.0).update(eval_accuracy=math.nan), "epoch 2 has no score .* epoch 3 has"),
    (lambda log: evaluation(log, 2.0).update(eval_accuracy="high"), "must be a number, found 'high'"),
    (lambda log: evaluation(log, 2.0).update(eval_accuracy=-0.1), r"epoch 2: a score must lie in \[0, 1\]"),
    (lambda log: evaluation(log, 2.0).update(eval_accuracy=35.0), "highest is 35.*percent=True"),
    (lambda log: log.clear(), "no evaluation at all"),
    (lambda log: [e.pop("eval_accuracy", None) for e in log], "found eval_loss, eval_runtime"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_is_no_learning_curve_is_refused_by_run_and_epoch(
    tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        imported(changed(tmp_path / "some-run", change), tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_files_that_are_no_state_are_refused(tmp_path: Path) -> None:
    state = tmp_path / "run" / "trainer_state.json"
    state.parent.mkdir()
    for content, message in [
        ("", "is empty"),
        ('{"log_history"', "is no JSON"),
        ("[]", "one JSON object, found list"),
        ("{}", "no state of a Hugging Face Trainer"),
    ]:
        state.write_text(content)
        with pytest.raises(UsageError, match=message):
            imported(state, tmp_path / "log")
    state.unlink()
    with pytest.raises(UsageError, match=r"expected trainer_state.json or checkpoint"):
        imported(tmp_path, tmp_path / "log")
    with pytest.raises(UsageError, match="No such file"):
        imported(tmp_path / "nowhere", tmp_path / "log")


def test_a_loss_is_no_score_and_a_trainer_does_not_say_what_it_trained(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'eval_loss' is a loss"):
        imported(HERE / "trainer", tmp_path, metric="eval_loss")
    with pytest.raises(CandidateError, match="a Trainer does not log it"):
        import_log(HERE / "trainer", "trainer", out=tmp_path)


@pytest.mark.parametrize(
    ("optim", "options", "expected"),
    [
        ("adamw_torch", None, {"optimizer": "adamw"}),
        ("sgd", None, {"optimizer": "sgd", "momentum": 0.0}),
        ("sgd", "momentum=0.9, nesterov=True", {"optimizer": "sgd", "momentum": 0.9}),
        ("lion_32bit", None, {"optimizer": "lion_32bit"}),
    ],
)
def test_optimizers_are_named_in_our_words(
    tmp_path: Path, optim: str, options: str | None, expected: dict[str, object]
) -> None:
    shutil.copytree(HERE / "trainer", tmp_path / "run")
    path = tmp_path / "run" / "training_args.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"optim": optim, "optim_args": options}))
    found = imported(tmp_path / "run", tmp_path / "log")[0].hyperparameters
    assert {name: found.get(name) for name in expected} == expected
    assert ("momentum" in found) == (optim == "sgd")
