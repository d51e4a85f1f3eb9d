"""`import_log`: runs that another program logged, as a logbook that a search can start from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fms_hub.errors import OutputError, UsageError
from fms_hub.hub.about import read_about, write_about
from fms_hub.hub.importers import csv_table, optuna_study, timm_script, trainer_state
from fms_hub.hub.importers.runs import Source, observations
from fms_hub.hub.logbook import Logbook
from fms_hub.records import Observation

if TYPE_CHECKING:
    from optuna.study import Study

Format = Literal["trainer", "timm", "optuna", "csv"]


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        folder: holds the logbook.
        format: of the source.
        runs, epochs, failed: how many; ``failed`` counts the runs that ended with a failed epoch.
        candidates: that were trained.
        hyperparameters: that are known of at least one run.
        best: highest score, in [0, 1]; None if no epoch went well.
        metric: name of the score, None if unknown.
        notices: what was left out, and why.
    """

    folder: Path
    format: Format
    runs: int
    epochs: int
    failed: int
    candidates: tuple[str, ...]
    hyperparameters: tuple[str, ...]
    best: float | None
    metric: str | None
    notices: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """What the command line prints with ``--json``."""
        return {**dataclasses.asdict(self), "folder": str(self.folder)}


def import_log(
    source: str | Path | Study,
    format: Format,
    *,
    out: str | Path,
    candidate: str | None = None,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    percent: bool = False,
    study: str | None = None,
    about: str | Path | None = None,
) -> Imported:
    """Import finished runs of another program into a logbook.

    A search starts from it with ``warm_start=[out]``. Checkpoints are not imported.

    Args:
        source: a file or folder; for Optuna also the URL of a storage, or a study.
        format: ``"trainer"`` (Hugging Face Trainer), ``"timm"``, ``"optuna"`` or ``"csv"``.
        out: folder of the new logbook. Importing the same once more changes nothing.
        candidate: what was trained, named as in a search, where the source does not say.
        columns: our names -> columns of the table, or parameters of the study.
        metric: the score: a key of the Trainer's log (``"eval_accuracy"``), a column of timm's summary
            (``"eval_top1"``); for the other formats only its name.
        percent: the scores are percentages. timm's are by definition.
        study: name of an Optuna study in a storage of several.
        about: folder of a search over the very same data, which says what the task is; without it the
            imported runs can start a search, but cannot be contributed.

    Returns:
        What was imported.

    Raises:
        CandidateError: it is unknown what a run trained.
        UsageError: the source cannot be read; epochs are missing or come twice; scores are out of range.
        OutputError: ``out`` cannot be written or holds another log.
        CheckpointError: ``about`` is damaged.
        StorageError: the disk is full.
    """
    _check_options(format, columns, study)
    found = _read(source, format, columns, metric, study)
    history = observations(found, candidate=candidate, percent=percent)
    folder = Path(out)
    known = None if about is None else read_about(Path(about))
    if known is not None and found.metric not in (None, known.metric):
        raise UsageError(f"{about} is about {known.metric}, but the imported score is {found.metric}.")
    _write(folder, history, _identity(format, found, history))
    if known is not None:
        write_about(folder, known)
    return _told(folder, format, found, history)


def _check_options(format: Format, columns: Mapping[str, str] | None, study: str | None) -> None:
    if format not in get_args(Format):
        raise UsageError(f"format must be one of {', '.join(get_args(Format))}; found {format!r}.")
    if columns is not None and format not in ("csv", "optuna"):
        raise UsageError(f"columns are for csv and optuna; {format} has names of its own.")
    if study is not None and format != "optuna":
        raise UsageError(f"study is for optuna, found it with {format}.")


def _read(
    source: str | Path | Study,
    format: Format,
    columns: Mapping[str, str] | None,
    metric: str | None,
    study: str | None,
) -> Source:
    if format == "optuna":
        return optuna_study.read(source, columns, metric, study)
    if not isinstance(source, str | Path):
        raise UsageError(f"{format} is read from a file or folder, found {type(source).__name__}.")
    path = Path(source)
    match format:
        case "trainer":
            return trainer_state.read(path, metric)
        case "timm":
            return timm_script.read(path, metric)
        case "csv":
            return csv_table.read(path, columns, metric)


def _identity(format: Format, source: Source, history: tuple[Observation, ...]) -> dict[str, str]:
    """What tells this log from every other: its content."""
    content = json.dumps([dataclasses.asdict(o) for o in history], sort_keys=True)
    identity = {"imported": format, "content": hashlib.sha256(content.encode()).hexdigest()[:16]}
    return identity if source.metric is None else {**identity, "metric": source.metric}


def _write(folder: Path, history: tuple[Observation, ...], identity: Mapping[str, str]) -> None:
    """Append what is not there yet: an import that was cut off goes on."""
    with Logbook(folder, identity) as log:
        there = log.history
        if there != history[: len(there)]:
            raise OutputError(f"{folder} holds another log; choose another out=.")
        for observation in history[len(there) :]:
            log.append(observation)


def _told(folder: Path, format: Format, source: Source, history: tuple[Observation, ...]) -> Imported:
    return Imported(
        folder=folder,
        format=format,
        runs=len({o.run for o in history}),
        epochs=len(history),
        failed=sum(o.status == "failed" for o in history),
        candidates=tuple(sorted({o.candidate for o in history})),
        hyperparameters=tuple(sorted({name for o in history for name in o.hyperparameters})),
        best=max((o.score for o in history if o.score is not None), default=None),
        metric=source.metric,
        notices=source.notices,
    )
