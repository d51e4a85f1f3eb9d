"""timm's training script: ``summary.csv`` and ``args.yaml`` in the folder of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from fms_hub.errors import UsageError
from fms_hub.hub.importers.files import read_table, read_text, run_folders
from fms_hub.hub.importers.runs import Epoch, Run, Source, number_of
from fms_hub.records import Value

SUMMARY = "summary.csv"
ARGUMENTS = "args.yaml"
METRIC = "eval_top1"
PERCENTAGES = ("eval_top1", "eval_top5")
NAMES = {
    "weight_decay": "weight_decay",
    "drop": "dropout",
    "smoothing": "label_smoothing",
    "layer_decay": "layer_decay",
}
"""Arguments of the script by our names for them; the others need a rule of their own."""
SGD = ("sgd", "momentum", "nesterov", "sgdw")


def read(source: Path, metric: str | None) -> Source:
    """Read the folder of a run, its ``summary.csv``, or a folder of such folders.

    Args:
        source: a file or folder.
        metric: column of the score; None means ``"eval_top1"``, which timm gives in percent.

    Raises:
        UsageError: a file is missing, damaged, or lacks the column.
    """
    key = METRIC if metric is None else metric
    if "loss" in key:
        raise UsageError(
            f"a score is higher where better; {key!r} is a loss. Choose a metric like {METRIC!r}."
        )
    folders = run_folders(source, _holds_run, SUMMARY) if source.is_dir() else [source.parent]
    runs = [_run(folder, key) for folder in folders]
    name = "accuracy" if key == METRIC else key.removeprefix("eval_")
    return Source(runs, name, percent=key in PERCENTAGES)


def _holds_run(folder: Path) -> bool:
    return (folder / SUMMARY).is_file()


def _run(folder: Path, key: str) -> Run:
    name = folder.resolve().name
    arguments = _arguments(folder / ARGUMENTS)
    rows = _rows(folder / SUMMARY, key)
    candidate, hint = _candidate(arguments)
    planned = arguments.get("epochs")
    return Run(
        name=name,
        candidate=candidate,
        hyperparameters=_hyperparameters(name, arguments, rows),
        horizon=None if planned is None else int(number_of(name, "epochs", planned)),
        epochs=[_epoch(name, row, key) for row in rows],
        hint=hint,
    )


def _epoch(name: str, row: Mapping[str, str], key: str) -> Epoch:
    """timm counts epochs from 0."""
    number = number_of(name, "epoch", row["epoch"])
    if number != int(number):
        raise UsageError(f"run {name!r}: an epoch must be a whole number, found {number}.")
    loss = row.get("train_loss")
    return Epoch(
        int(number) + 1,
        number_of(name, f"{key} of epoch {int(number)}", row[key]),
        None if loss is None else number_of(name, "train_loss", loss),
    )


def _arguments(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no plain YAML as timm writes it ({error}). Copy it again.") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} should hold the arguments by name, found {type(content).__name__}.")
    return content


def _rows(path: Path, key: str) -> list[dict[str, str]]:
    (_, header), *lines = read_table(path)
    missing = [name for name in ("epoch", key) if name not in header]
    if missing:
        raise UsageError(
            f"{path} has no column {missing[0]!r}; found {', '.join(header)}. Name one with metric=."
        )
    # A resumed run writes the header once more.
    rows = [(line, cells) for line, cells in lines if cells != header]
    if not rows:
        raise UsageError(f"{path} is empty: there is no epoch below its header.")
    for line, cells in rows:
        if len(cells) != len(header):
            raise UsageError(
                f"{path}, line {line}: expected {len(header)} cells, found {len(cells)}. An epoch without "
                "evaluation is written like that: every epoch needs one (--val-interval 1)."
            )
    return [dict(zip(header, cells, strict=True)) for _, cells in rows]


def _candidate(arguments: Mapping[str, Any]) -> tuple[str | None, str]:
    """The candidate, or why it cannot be known.

    A name without tag means timm's default weights, which differ between releases of timm.
    """
    model = str(arguments.get("model") or "").removeprefix("hf-hub:").removeprefix("hf_hub:")
    if not model:
        return None, f": {ARGUMENTS} names no model"
    for name in ("initial_checkpoint", "resume", "pretrained_path"):
        if arguments.get(name):
            return None, f": it started {model!r} from a file of its own ({name})"
    if not arguments.get("pretrained"):
        return f"scratch:{model}", ""
    if "/" in model:
        return model, ""
    if "." not in model:
        return None, f": {ARGUMENTS} names {model!r} without the tag of its weights"
    return f"timm/{model}", ""


def _hyperparameters(
    name: str, arguments: Mapping[str, Any], rows: list[dict[str, str]]
) -> dict[str, Value | None]:
    values: dict[str, Value | None] = {ours: arguments.get(theirs) for theirs, ours in NAMES.items()}
    batch, steps = arguments.get("batch_size"), arguments.get("grad_accum_steps") or 1
    if batch is not None:
        values["batch_size"] = int(
            number_of(name, "batch_size", batch) * number_of(name, "grad_accum_steps", steps)
        )
    values["learning_rate"] = _learning_rate(name, arguments, rows)
    optimizer = arguments.get("opt")
    if optimizer is not None:
        values["optimizer"] = "sgd" if optimizer in SGD else str(optimizer)
    if values.get("optimizer") == "sgd":
        values["momentum"] = arguments.get("momentum")
    return values


def _learning_rate(name: str, arguments: Mapping[str, Any], rows: list[dict[str, str]]) -> Value | None:
    """As given, or the highest logged where timm derived it from the batch size and number of devices.

    The log has the mean over parameter groups, which is not the peak under layer-wise decay.
    """
    given: Value | None = arguments.get("lr")
    if given is not None or "lr" not in rows[0]:
        return given
    if arguments.get("layer_decay") not in (None, 1, 1.0):
        return None
    return max(number_of(name, "lr", row["lr"]) for row in rows)
