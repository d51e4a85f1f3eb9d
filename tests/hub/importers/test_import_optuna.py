"""Optuna studies, in memory and in SQLite, with trials that finished, were pruned, failed or never ran."""

import importlib.util
import math
import sqlite3
from pathlib import Path

import optuna
import pytest

from fms_hub.errors import CandidateError, UsageError
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.logbook import read_history

SECRET = "somebody@example.org"


def objective(trial: optuna.Trial) -> float:
    rate = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    trial.suggest_categorical("model", ["timm/a", "timm/b"])
    trial.set_user_attr("owner", SECRET)
    score = 0.0
    for epoch in range(4):
        score = 0.1 * (epoch + 1) + min(rate, 0.5)
        trial.report(math.nan if trial.number == 3 and epoch >= 2 else score, epoch)
        if trial.number == 1 and epoch == 1:
            raise optuna.TrialPruned
        if trial.number == 2 and epoch == 0:
            raise RuntimeError("out of memory")
    return score


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, tmp_path: Path) -> optuna.Study:
    storage = None if request.param == "memory" else f"sqlite:///{tmp_path / 'study.db'}"
    found = optuna.create_study(
        study_name="mine",
        direction="maximize",
        storage=storage,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    found.optimize(objective, n_trials=4, catch=(RuntimeError,))
    found.optimize(lambda _: 0.5, n_trials=1)
    found.enqueue_trial({"lr": 0.01})
    return found


COLUMNS = {"learning_rate": "lr", "candidate": "model"}


def test_trials_become_runs(study: optuna.Study, tmp_path: Path) -> None:
    found = import_log(study, "optuna", out=tmp_path / "log", columns=COLUMNS)
    history = read_history(tmp_path / "log")
    assert [(o.run, o.epoch, o.horizon, o.status) for o in history] == [
        *[(0, epoch, 4, "ok") for epoch in (1, 2, 3, 4)],
        *[(1, epoch, 4, "ok") for epoch in (1, 2)],
        (2, 1, 4, "ok"), (2, 2, 4, "failed"),
        (3, 1, 4, "ok"), (3, 2, 4, "ok"), (3, 3, 4, "failed"),
    ]  # fmt: skip
    for o in history:
        trial = study.trials[o.run]
        assert o.hyperparameters == {"learning_rate": trial.params["lr"]}
        assert o.candidate == trial.params["model"]
        assert o.score == (trial.intermediate_values[o.epoch - 1] if o.status == "ok" else None)
        assert 0 <= o.seconds < 60
    assert [o.reason for o in history if o.status == "failed"] == ["other", "diverged"]
    assert "1 trials that have not finished" in found.notices[0]
    assert "reported no epoch: 4" in found.notices[1]
    assert SECRET not in (tmp_path / "log" / "logbook.jsonl").read_text()


def test_parameters_outside_the_vocabulary_are_pointed_out(tmp_path: Path, study: optuna.Study) -> None:
    found = import_log(study, "optuna", out=tmp_path / "log", candidate="x")
    assert "outside the vocabulary: lr, model" in found.notices[-1]


def test_a_file_is_read_without_writing_to_it(tmp_path: Path) -> None:
    path = tmp_path / "some #1?.db"
    study = optuna.create_study(direction="maximize", storage=f"sqlite:///{tmp_path / 'study.db'}")
    study.optimize(objective, n_trials=1)
    (tmp_path / "study.db").rename(path)
    before = path.read_bytes()
    path.chmod(0o444)
    for number, source in enumerate((path, str(path), f"sqlite:///{path}")):
        found = import_log(source, "optuna", out=tmp_path / f"log{number}", columns=COLUMNS)
        assert (found.runs, found.epochs) == (1, 4)
    assert path.read_bytes() == before


def test_not_even_what_optuna_itself_would_repair_is_written(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    optuna.create_study(direction="maximize", storage=f"sqlite:///{path}").optimize(objective, n_trials=1)
    with sqlite3.connect(path) as base:
        base.execute("delete from version_info")
    base.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="readonly database"):
        import_log(path, "optuna", out=tmp_path / "log", columns=COLUMNS)
    assert path.read_bytes() == before


def test_of_several_studies_one_is_named(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    for name in ("a", "b"):
        optuna.create_study(study_name=name, direction="maximize", storage=url).optimize(
            objective, n_trials=1
        )
    with pytest.raises(UsageError, match=r"expected one study in .* found a, b"):
        import_log(url, "optuna", out=tmp_path / "log", columns=COLUMNS)
    with pytest.raises(UsageError, match="expected a study 'c'"):
        import_log(url, "optuna", out=tmp_path / "log", columns=COLUMNS, study="c")
    assert import_log(url, "optuna", out=tmp_path / "log", columns=COLUMNS, study="b").runs == 1


def test_files_that_hold_no_study_are_refused(tmp_path: Path) -> None:
    absent, text, foreign = tmp_path / "absent.db", tmp_path / "text.db", tmp_path / "foreign.db"
    text.write_text("no database at all, but long enough to be looked into\n" * 40)
    with sqlite3.connect(foreign) as base:
        base.execute("create table things (id integer)")
    base.close()
    for path, message in [
        (absent, "there is no file"),
        (text, "cannot be read as a storage"),
        (foreign, "cannot be read as a storage"),
    ]:
        with pytest.raises(UsageError, match=message):
            import_log(path, "optuna", out=tmp_path / "log", candidate="x")
    assert not absent.exists()


def test_studies_without_one_score_to_maximise_are_refused(tmp_path: Path) -> None:
    def refuse(study: optuna.Study, message: str, **options: object) -> None:
        with pytest.raises(UsageError, match=message):
            import_log(study, "optuna", out=tmp_path / "log", **options)  # type: ignore[arg-type]

    refuse(optuna.create_study(direction="minimize"), "is to minimize")
    refuse(optuna.create_study(directions=["maximize", "maximize"]), "is to maximize, maximize")
    silent = optuna.create_study(direction="maximize")
    refuse(silent, "reported its epochs")
    silent.optimize(lambda trial: trial.suggest_float("lr", 0, 1), n_trials=2)
    refuse(silent, "reported its epochs", candidate="x")
    refuse(
        silent,
        "no trial has the parameter 'rate' for learning_rate; found lr",
        columns={"learning_rate": "rate"},
    )


def test_missing_epochs_and_unknown_candidates_are_named_by_trial(tmp_path: Path) -> None:
    def gap(trial: optuna.Trial) -> float:
        for epoch in (1, 2, 4):
            trial.report(0.5, epoch)
        return 0.5

    study = optuna.create_study(direction="maximize")
    study.optimize(gap, n_trials=1)
    with pytest.raises(UsageError, match="run 'trial 0' has no epoch 3, found 1, 2, 4"):
        import_log(study, "optuna", out=tmp_path / "log", candidate="x")
    fine = optuna.create_study(direction="maximize")
    fine.optimize(objective, n_trials=1)
    with pytest.raises(CandidateError, match="no parameter 'candidate'"):
        import_log(fine, "optuna", out=tmp_path / "log")


def test_without_optuna_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "optuna" else find(name, *more)
    )
    with pytest.raises(UsageError, match=r"pip install 'fms_hub\[optuna\]'"):
        import_log(tmp_path / "study.db", "optuna", out=tmp_path / "log")
