"""A CSV table with one row per epoch, and a mapping from our names to its columns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from fms_hub.errors import UsageError
from fms_hub.hub.importers.files import read_table
from fms_hub.hub.importers.runs import Epoch, Run, Source, number_of
from fms_hub.records import Value

NEEDED = ("run", "epoch", "score")
OPTIONAL = ("candidate", "horizon", "train_loss", "seconds")
EXAMPLE = "{'run': 'id', 'epoch': 'epoch', 'score': 'val_acc', 'learning_rate': 'lr'}"

Row = Mapping[str, str]


def read(path: Path, columns: Mapping[str, str] | None, metric: str | None) -> Source:
    """Read a table.

    Args:
        path: of a UTF-8 file with a header, separated by commas; the order of its rows does not matter.
        columns: our names -> columns of the table. ``run``, ``epoch`` and ``score`` must be there; further
            ``candidate``, ``horizon`` (planned epochs), ``train_loss``, ``seconds``; any other name is a
            hyperparameter. Columns that are not mapped are not read.
        metric: name of the score, if it is known.

    Raises:
        UsageError: the table is empty, lacks a column, or a cell is not what it should be.
    """
    chosen = dict(columns or {})
    missing = [name for name in NEEDED if name not in chosen]
    if missing:
        raise UsageError(f"columns must say which column is {', '.join(missing)}, e.g. columns={EXAMPLE}.")
    rows = _rows(path, chosen)
    names = list(dict.fromkeys(row["run"] for row in rows))
    by_run: dict[str, list[Row]] = {name: [] for name in names}
    for row in rows:
        by_run[row["run"]].append(row)
    first = min(_whole(row["run"], "epoch", row["epoch"]) for row in rows)
    return Source([_run(name, by_run[name], shift=int(first == 0)) for name in names], metric)


def _rows(path: Path, columns: Mapping[str, str]) -> list[Row]:
    """The mapped cells of every row, by our names."""
    (_, header), *lines = read_table(path)
    for name, column in columns.items():
        if header.count(column) != 1:
            found = "it twice" if column in header else ", ".join(header)
            raise UsageError(f"{path}: expected one column {column!r} for {name}, found {found}.")
    places = {name: header.index(column) for name, column in columns.items()}
    rows: list[Row] = []
    for line, cells in lines:
        if len(cells) != len(header):
            raise UsageError(f"{path}, line {line}: expected {len(header)} cells, found {len(cells)}.")
        rows.append({name: cells[place] for name, place in places.items()})
    if not rows:
        raise UsageError(f"{path} is empty: there is no row below its header.")
    return rows


def _run(name: str, rows: list[Row], shift: int) -> Run:
    """Epochs are counted from 1; ``shift`` is 1 where the table counts from 0."""
    epochs = [
        Epoch(
            _whole(name, "epoch", row["epoch"]) + shift,
            number_of(name, f"the score of epoch {row['epoch']}", row["score"]),
            number_of(name, "train_loss", row["train_loss"]) if row.get("train_loss") else None,
            number_of(name, "seconds", row["seconds"]) if row.get("seconds") else 0.0,
        )
        for row in rows
    ]
    settings = [word for word in rows[0] if word not in (*NEEDED, *OPTIONAL)]
    horizon = _constant(name, "horizon", rows)
    return Run(
        name=name,
        candidate=_constant(name, "candidate", rows) or None,
        hyperparameters={word: _value(_constant(name, word, rows)) for word in settings},
        horizon=_whole(name, "horizon", horizon) if horizon else None,
        epochs=epochs,
        hint=": no column is mapped to candidate" if "candidate" not in rows[0] else "",
    )


def _constant(run: str, name: str, rows: list[Row]) -> str:
    """The value that all rows of a run share; empty where the column is not mapped."""
    values = list(dict.fromkeys(row.get(name, "") for row in rows))
    if len(values) > 1:
        raise UsageError(
            f"run {run!r}: {name} must be the same in all epochs, found {values[0]!r} and {values[1]!r}. "
            "Map a column that names each run on its own."
        )
    return values[0]


def _whole(run: str, name: str, text: str) -> int:
    number = number_of(run, name, text)
    if not (math.isfinite(number) and number == int(number) and number >= 0):
        raise UsageError(f"run {run!r}: {name} must be a whole number, found {text!r}.")
    return int(number)


def _value(text: str) -> Value | None:
    """A truth value, a whole number, a number or a word; None for an empty cell."""
    if not text:
        return None
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
