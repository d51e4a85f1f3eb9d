"""Hugging Face Trainer: ``trainer_state.json``, and ``training_args.json`` where somebody wrote one.

The Trainer itself saves its arguments as ``training_args.bin`` alone, which is a pickle and never opened.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fms_hub.errors import UsageError
from fms_hub.hub.importers.files import read_object, run_folders
from fms_hub.hub.importers.runs import Epoch, Run, Source, number_of
from fms_hub.records import Value

STATE = "trainer_state.json"
ARGUMENTS = "training_args.json"
METRIC = "eval_accuracy"
DRIFT = 0.1
"""How far from a whole epoch an evaluation may be: older releases count the last, smaller step as whole."""

ENDLESS = 1e6
"""A Trainer that counts steps over a stream of images plans the largest number of epochs there is."""
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation in a log: after which epoch and step, and its score, NaN included."""

    epoch: float
    step: int
    score: float


def read(source: Path, metric: str | None) -> Source:
    """Read a ``trainer_state.json``, the output folder of a Trainer, or a folder of such folders.

    Args:
        source: a file or folder; of a folder's checkpoints the last is read.
        metric: key of the score in the log; None means ``"eval_accuracy"``.

    Raises:
        UsageError: there is no such file, it is no state of a Trainer, or has no evaluation every epoch.
    """
    key = METRIC if metric is None else metric
    if "loss" in key:
        raise UsageError(
            f"a score is higher where better; {key!r} is a loss. Choose a metric like {METRIC!r}."
        )
    paths = {_name(path): path for path in _states(source)}
    runs = [_run(name, path, key) for name, path in paths.items()]
    silent = [name for name, path in paths.items() if _arguments_path(path) is None]
    return Source(runs, key.removeprefix("eval_"), notices=_notices(silent))


def _states(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    expected = f"{STATE} or checkpoint-*/{STATE}"
    folders = run_folders(source, lambda folder: _state_path(folder) is not None, expected)
    return [path for folder in folders if (path := _state_path(folder)) is not None]


def _notices(silent: list[str]) -> tuple[str, ...]:
    if not silent:
        return ()
    return (
        f"{', '.join(silent)}: no {ARGUMENTS}, so all hyperparameters but the batch size are unknown "
        "(training_args.bin is a pickle and is never opened). Write one beside the state with "
        "trainer.args.to_json_string() and import again.",
    )


def _state_path(folder: Path) -> Path | None:
    """The state that knows most: the folder's own, or that of its last checkpoint."""
    numbered = [
        (int(match[1]), path / STATE)
        for path in folder.glob("checkpoint-*")
        if (match := _CHECKPOINT.fullmatch(path.name)) and (path / STATE).is_file()
    ]
    found = [max(numbered)[1]] if numbered else []
    if (folder / STATE).is_file():
        found.append(folder / STATE)
    if len(found) < 2:
        return found[0] if found else None
    return max(reversed(found), key=lambda path: len(_history(path, read_object(path))))


def _name(state: Path) -> str:
    """The output folder of a state, also where it lies in a checkpoint."""
    folder = state.resolve().parent
    return folder.parent.name if _CHECKPOINT.fullmatch(folder.name) else folder.name


def _arguments_path(state: Path) -> Path | None:
    folder = state.resolve().parent
    places = [folder / ARGUMENTS]
    if _CHECKPOINT.fullmatch(folder.name):
        places.append(folder.parent / ARGUMENTS)
    return next((path for path in places if path.is_file()), None)


def _run(name: str, path: Path, key: str) -> Run:
    state = read_object(path)
    history = _history(path, state)
    arguments = _arguments_path(path)
    given = {} if arguments is None else read_object(arguments)
    evaluations = _evaluations(name, history, key)
    planned = number_of(name, "num_train_epochs", state.get("num_train_epochs") or len(evaluations))
    runtime = next((entry["train_runtime"] for entry in history if "train_runtime" in entry), None)
    each = 0.0 if runtime is None else number_of(name, "train_runtime", runtime) / len(evaluations)
    return Run(
        name=name,
        candidate=None,
        hyperparameters=_hyperparameters(name, state, given),
        horizon=math.ceil(planned) if planned < ENDLESS else None,
        epochs=_epochs(name, evaluations, history, each),
        hint=": a Trainer does not log it",
    )


def _history(path: Path, state: Mapping[str, Any]) -> list[dict[str, Any]]:
    history = state.get("log_history")
    if not isinstance(history, list) or not all(isinstance(entry, dict) for entry in history):
        raise UsageError(f"{path} is no state of a Hugging Face Trainer: it has no log_history.")
    return history


def _evaluations(name: str, history: list[dict[str, Any]], key: str) -> list[Evaluation]:
    """In the order of the log, without those before the first step.

    A second look at the very same network that found the same counts once.
    """
    found: list[Evaluation] = []
    for entry in history:
        if key not in entry:
            continue
        values = (number_of(name, word, entry.get(word)) for word in ("epoch", "step", key))
        epoch, step, score = values
        evaluation = Evaluation(epoch, int(step), score)
        if evaluation not in found and evaluation.step > 0:
            found.append(evaluation)
    if not found:
        known = sorted({word for entry in history for word in entry if word.startswith("eval_")})
        raise UsageError(
            f"run {name!r}: no entry of the log has {key!r}; "
            f"found {', '.join(known) or 'no evaluation at all'}. Name the score with metric=; "
            "compute_metrics logs it, with eval_strategy='epoch'."
        )
    return found


def _epochs(
    name: str, evaluations: list[Evaluation], history: list[dict[str, Any]], seconds: float
) -> list[Epoch]:
    epochs = []
    for evaluation in evaluations:
        number = round(evaluation.epoch) if math.isfinite(evaluation.epoch) else 0
        if number < 1 or abs(evaluation.epoch - number) > DRIFT:
            raise UsageError(
                f"run {name!r} was evaluated after {evaluation.epoch:g} epochs (step {evaluation.step}); "
                "expected whole epochs, which eval_strategy='epoch' gives. Leave other evaluations out."
            )
        epochs.append(Epoch(number, evaluation.score, _mean_loss(history, number), seconds))
    return epochs


def _mean_loss(history: list[dict[str, Any]], number: int) -> float | None:
    """Mean of the training losses logged within the epoch, None if there are none."""
    losses = [
        float(entry["loss"])
        for entry in history
        if isinstance(entry.get("loss"), int | float)
        and isinstance(entry.get("epoch"), int | float)
        and number - 1 < entry["epoch"] <= number
    ]
    return sum(losses) / len(losses) if losses else None


def _hyperparameters(
    name: str, state: Mapping[str, Any], arguments: Mapping[str, Any]
) -> dict[str, Value | None]:
    """TrainingArguments in our words; the batch is that of a step on one device."""
    automatic = arguments.get("auto_find_batch_size", False)
    batch = None if automatic else arguments.get("per_device_train_batch_size")
    batch = state.get("train_batch_size") if batch is None else batch
    steps = arguments.get("gradient_accumulation_steps", 1)
    if batch is not None:
        batch = int(
            number_of(name, "batch size", batch) * number_of(name, "gradient_accumulation_steps", steps)
        )
    return {
        "batch_size": batch,
        "learning_rate": arguments.get("learning_rate"),
        "weight_decay": arguments.get("weight_decay"),
        "label_smoothing": arguments.get("label_smoothing_factor"),
        **_optimizer(arguments.get("optim"), arguments.get("optim_args")),
    }


def _optimizer(optim: object, options: object) -> dict[str, Value | None]:
    """``adamw_torch``, ``adamw_torch_fused`` ... are AdamW; SGD has momentum where its options say so."""
    if optim is None:
        return {}
    if str(optim).startswith("adamw"):
        return {"optimizer": "adamw"}
    if optim != "sgd":
        return {"optimizer": str(optim)}
    momentum = re.search(r"\bmomentum\s*=\s*([0-9.eE+-]+)", str(options or ""))
    return {"optimizer": "sgd", "momentum": 0.0 if momentum is None else float(momentum[1])}
