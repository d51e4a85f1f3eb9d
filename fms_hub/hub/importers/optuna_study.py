"""Optuna studies: parameters and intermediate values of their trials. User attributes are never read."""

from __future__ import annotations

import importlib.util
import math
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from fms_hub.errors import UsageError
from fms_hub.hub.importers.runs import NUMBERS, Epoch, Run, Source
from fms_hub.records import Value

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.study import Study
    from optuna.trial import FrozenTrial

CANDIDATE = "candidate"


def read(
    source: Study | Path | str, columns: Mapping[str, str] | None, metric: str | None, study: str | None
) -> Source:
    """Read a study.

    Trials that were pruned are runs of fewer epochs; a trial that failed ends with a failed epoch.

    Args:
        source: a study, the file of an SQLite storage, or the URL of a storage.
        columns: our names -> parameters of the study, e.g. ``{"learning_rate": "lr"}``; a parameter that is
            not named keeps its name. ``candidate`` is the parameter that says what was trained.
        metric: name of the score, if it is known.
        study: name of the study, where the storage holds several.

    Raises:
        UsageError: Optuna is not installed, the study cannot be read, is not one that maximises one score,
            or no trial reported its epochs.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError(
            "reading a study needs Optuna, which is not installed: pip install 'fms_hub[optuna]'."
        )
    from optuna.trial import TrialState

    opened = _open(source, study) if isinstance(source, str | Path) else source
    _check(opened, dict(columns or {}))
    names = {theirs: ours for ours, theirs in (columns or {}).items()}
    trials = opened.get_trials(deepcopy=False)
    over = [t for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)]
    told = [t for t in over if t.intermediate_values]
    if not told:
        raise UsageError(
            f"no trial of the study {opened.study_name!r} reported its epochs (trial.report(score, epoch)); "
            "without them there is no learning curve to import."
        )
    shift = int(min(min(t.intermediate_values) for t in told) == 0)
    runs = [_run(trial, names, shift) for trial in told]
    return Source(runs, metric, notices=_notices(trials, over, told, runs))


def _notices(
    trials: list[FrozenTrial], over: list[FrozenTrial], told: list[FrozenTrial], runs: list[Run]
) -> tuple[str, ...]:
    notices = []
    if len(over) < len(trials):
        notices.append(f"left out {len(trials) - len(over)} trials that have not finished")
    silent = [str(t.number) for t in over if not t.intermediate_values]
    if silent:
        notices.append(f"left out trials that reported no epoch: {', '.join(silent)}")
    known = {*NUMBERS, "optimizer"}
    foreign = sorted({name for run in runs for name in run.hyperparameters} - known)
    if foreign:
        notices.append(
            f"outside the vocabulary: {', '.join(foreign)}; if one is a known hyperparameter under another "
            f"name ({', '.join(sorted(known))}), map it with columns, e.g. learning_rate=lr"
        )
    return tuple(notices)


def _run(trial: FrozenTrial, names: Mapping[str, str], shift: int) -> Run:
    """Epochs are counted from 1; ``shift`` is 1 where the study counts from 0."""
    from optuna.trial import TrialState

    settings: dict[str, Value | None] = {names.get(name, name): value for name, value in trial.params.items()}
    candidate = settings.pop(CANDIDATE, None)
    epochs = [
        Epoch(step + shift, float(score), seconds=_seconds(trial))
        for step, score in trial.intermediate_values.items()
    ]
    if trial.state == TrialState.FAIL and not any(math.isnan(epoch.score) for epoch in epochs):
        epochs.append(Epoch(max(e.number for e in epochs) + 1, math.nan, failure="other"))
    return Run(
        name=f"trial {trial.number}",
        candidate=None if candidate is None else str(candidate),
        hyperparameters=settings,
        horizon=None,
        epochs=epochs,
        hint=": the study has no parameter 'candidate'",
    )


def _seconds(trial: FrozenTrial) -> float:
    """Wall clock of an epoch, on average."""
    duration = trial.duration
    return 0.0 if duration is None else max(duration.total_seconds(), 0.0) / len(trial.intermediate_values)


def _check(study: Study, columns: dict[str, str]) -> None:
    from optuna.study import StudyDirection

    if list(study.directions) != [StudyDirection.MAXIMIZE]:
        found = ", ".join(direction.name.lower() for direction in study.directions)
        raise UsageError(
            f"a score is one number, higher where better; the study {study.study_name!r} is to {found}. "
            "Import one that maximises a score in [0, 1]."
        )
    known = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
    for ours, theirs in columns.items():
        if theirs not in known:
            raise UsageError(
                f"no trial has the parameter {theirs!r} for {ours}; "
                f"found {', '.join(sorted(known)) or 'none'}."
            )


def _open(source: str | Path, name: str | None) -> Study:
    """The study of a storage; nothing is written and no storage is created."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        storage = _storage(source)
        found = optuna.get_all_study_names(storage)
        if not found or (name is None and len(found) > 1) or (name is not None and name not in found):
            what = "one study" if name is None else f"a study {name!r}"
            raise UsageError(
                f"expected {what} in {source}, found {', '.join(sorted(found)) or 'none'}. "
                "Name one with study= (--study)."
            )
        return optuna.load_study(study_name=name or found[0], storage=storage)
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError, ImportError) as error:
        reason = str(error.__cause__ or error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{source} cannot be read as a storage of Optuna studies: {reason}") from error


def _storage(source: str | Path) -> RDBStorage:
    """An SQLite file is opened for reading alone, so that it must be there."""
    import optuna

    text = str(source)
    if "://" in text and not text.startswith("sqlite:///"):
        return optuna.storages.RDBStorage(text, skip_table_creation=True)
    path = Path(text.removeprefix("sqlite:///"))
    if not path.is_file():
        raise UsageError(f"there is no file {path}. Name an SQLite file or the URL of another storage.")
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    return optuna.storages.RDBStorage(
        "sqlite://",
        engine_kwargs={"creator": lambda: sqlite3.connect(address, uri=True)},
        skip_table_creation=True,
    )
