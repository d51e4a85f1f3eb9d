"""What a contribution may say, value by value: all that is not listed here is neither sent nor accepted.

It is the allow-list of those who give, checked once more before anything is offered, and the first
suspicion of those who take in.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

import pandas as pd

from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Fault, TaskRow
from fms_hub.finetune.recipe import INTERVALS, OPTIMIZERS

HUB: Final = "contributed"
"""The hub that contributed runs belong to."""
LICENCE: Final = "CDLA-Permissive-2.0"
"""What contributed rows and sketches are given under."""
LICENCES: Final = ("unknown", "Apache-2.0 (no data)")
"""Of candidates, besides those that the package says of its own."""
DEVICES: Final = ("cpu", "cuda", "mps", "xpu", "other")
REASONS: Final = ("diverged", "out-of-memory", "other")
METRICS: Final = ("accuracy", "balanced_accuracy", "macro_f1")
UNKNOWN: Final = "unknown"
SOURCE: Final = "a search that was contributed"
OPTIMIZER: Final = "optimizer"

MOST_EPOCHS: Final = 10_000
MOST_HYPERPARAMETERS: Final = 64
MOST_SEED: Final = 2**31
LARGEST: Final = 1e12
"""Of any hyperparameter outside the vocabulary, by magnitude; and of counts."""
LONGEST_EPOCH: Final = 30 * 86400.0
"""Seconds."""
SHORTEST_EPOCH: Final = 1e-4
"""Seconds."""

_RUN: Final = re.compile(r"[0-9a-f]{16}")
_TASK: Final = re.compile(r"task-[0-9a-f]{16}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_HIDDEN_CANDIDATE: Final = re.compile(r"private-[0-9a-f]{16}")
_PUBLIC_CANDIDATE: Final = re.compile(
    r"(bundled/|scratch:)[A-Za-z0-9_.-]{1,100}"
    r"|[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}(@[A-Za-z0-9][A-Za-z0-9_.-]{0,63})?"
)
_HIDDEN: Final = re.compile(r"x-[0-9a-f]{8}")
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")


def is_public_name(name: str) -> bool:
    """Whether a candidate's name has the form of one that everybody can know."""
    return _PUBLIC_CANDIDATE.fullmatch(name) is not None


def check_rows(frame: pd.DataFrame) -> None:
    """Refuse rows that say what a contribution does not say; columns and types have been checked.

    Raises:
        Fault: names the column, and never the value.
    """
    _every(frame.run, lambda text: _RUN.fullmatch(text), "run")
    _every(frame.hub, lambda text: text == HUB, "hub")
    _every(frame.task, lambda text: _TASK.fullmatch(text), "task")
    _every(frame.candidate, _is_candidate, "candidate")
    _every(frame.hyperparameters, _are_hyperparameters, "hyperparameters")
    _every(frame.horizon, lambda number: 1 <= number <= MOST_EPOCHS, "horizon")
    _every(frame.epoch, lambda number: 1 <= number <= MOST_EPOCHS, "epoch")
    _every(frame.seed, lambda number: 0 <= number < MOST_SEED, "seed")
    _every(frame.train_loss.dropna(), lambda number: 0.0 <= number <= LARGEST, "train_loss")
    _every(frame.device, lambda text: text in DEVICES, "device")
    _every(frame.reason.dropna(), lambda text: text in REASONS, "reason")
    trained = frame.seconds[frame.status == "ok"].dropna()
    _every(trained, lambda number: SHORTEST_EPOCH <= number <= LONGEST_EPOCH, "seconds")
    _every(frame.seconds.dropna(), lambda number: 0.0 <= number <= LONGEST_EPOCH, "seconds")


def check_task(row: TaskRow) -> None:
    """Refuse a task's row that says more than numbers.

    Raises:
        Fault: names the column.
    """
    counts = (row.train, row.validation, row.test)
    good = {
        "hub": row.hub == HUB,
        "name": _TASK.fullmatch(row.name),
        "group": _TASK.fullmatch(row.group),
        "classes": 2 <= row.classes <= 10**6,
        "images": row.images is None,
        "train": all(count is None or 0 <= count <= 10**10 for count in counts),
        "image_size": row.image_size is None or 1 <= row.image_size <= 65536,
        "metric": row.metric in METRICS,
        "fingerprint": row.fingerprint is None or _DIGEST.fullmatch(row.fingerprint),
        "features": row.features is None or _are_features(row.features),
        "licence": row.licence == UNKNOWN,
        "source": row.source == SOURCE,
    }
    _require(good)


def check_candidate(row: CandidateRow) -> None:
    """Refuse a candidate's row that says more than it should.

    Raises:
        Fault: names the column.
    """
    good = {
        "name": _is_candidate(row.name),
        "architecture": _WORD.fullmatch(row.architecture),
        "family": _WORD.fullmatch(row.family),
        "source": _WORD.fullmatch(row.source),
        "epochs": row.epochs is None or 0 <= row.epochs <= MOST_EPOCHS,
        "accuracy": row.accuracy is None or 0.0 <= row.accuracy <= 1.0,
        "parameters": row.parameters is None or 0 <= row.parameters <= LARGEST,
        "licence": row.name.startswith("bundled/") or row.licence in LICENCES,
    }
    _require(good)


def _require(good: Mapping[str, object]) -> None:
    for name, fine in good.items():
        if not fine:
            raise Fault(f"{name} is not what a contribution may say")


def _every(column: pd.Series, is_good: Any, name: str) -> None:
    if not all(map(is_good, column.unique())):
        raise Fault(f"{name} has a value that a contribution may not have")


def _is_candidate(name: str) -> bool:
    return is_public_name(name) or _HIDDEN_CANDIDATE.fullmatch(name) is not None


def _are_features(features: Mapping[str, float]) -> bool:
    values = [features.get(name) for name in META_FEATURES]
    return all(value is not None and math.isfinite(value) and abs(value) <= 100.0 for value in values)


def _are_hyperparameters(text: str) -> bool:
    """Known names with values that fine-tuning can follow, and hashed names with numbers or hashed words."""
    try:
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return False
    if not isinstance(pairs, _Pairs) or len({name for name, _ in pairs}) != len(pairs):
        return False
    return len(pairs) <= MOST_HYPERPARAMETERS and all(_is_setting(name, value) for name, value in pairs)


class _Pairs(list[tuple[str, Any]]):
    """Names and values of a JSON object, doubles included."""


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def is_known(name: str, value: Any) -> bool:
    """Whether fine-tuning knows a hyperparameter of this name and can follow this value."""
    if name == OPTIMIZER:
        return isinstance(value, str) and value in OPTIMIZERS
    whole = name != "batch_size" or type(value) is int
    return name in INTERVALS and whole and _is_number(value) and float(value) in INTERVALS[name]


def _is_setting(name: str, value: Any) -> bool:
    if name == OPTIMIZER or name in INTERVALS:
        return is_known(name, value)
    if not _HIDDEN.fullmatch(name):
        return False
    return isinstance(value, bool) or _is_number(value) or _is_hidden(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= LARGEST and math.isfinite(value)


def _is_hidden(value: Any) -> bool:
    return isinstance(value, str) and _HIDDEN.fullmatch(value) is not None
