"""What can be wrong with the tables of a shard; whatever is, is said in words and the shard refused."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import MISSING, fields

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from fms_hub.corpus.schema import Fault, Row, arrow_schema

_SCORES = ("validation_score", "test_score")


def check_columns(table: pa.Table, kind: type) -> None:
    """Refuse a table without the columns, types and finite numbers that its dataclass has.

    Columns that came later have a default in the dataclass; older tables may lack them.

    Raises:
        Fault: another column is absent or of another type, a number is NaN or infinite, a value is null where
            it may not be.
    """
    later = {field.name for field in fields(kind) if field.default is not MISSING}
    for field in arrow_schema(kind):
        if field.name not in table.column_names:
            if field.name in later:
                continue
            raise Fault(f"there is no column {field.name!r}")
        column = table[field.name]
        if column.type != field.type:
            raise Fault(f"column {field.name!r} is {column.type}, expected {field.type}")
        if column.null_count and not field.nullable:
            raise Fault(f"column {field.name!r} has {column.null_count} nulls")
        for numbers in _floats(column):
            if not pc.all(pc.is_finite(numbers)).as_py() and len(numbers.drop_null()):
                raise Fault(f"column {field.name!r} has NaN or infinity")


def _floats(column: pa.ChunkedArray) -> Iterable[pa.ChunkedArray]:
    if pa.types.is_floating(column.type):
        return [column]
    if pa.types.is_struct(column.type):
        return [pc.struct_field(column, [i]) for i in range(column.type.num_fields)]
    return []


def check_unit(table: pa.Table, columns: Iterable[str]) -> None:
    """Refuse scores outside [0, 1].

    Raises:
        Fault: names the column.
    """
    for name in columns:
        values = table[name].drop_null()
        if len(values) and not 0.0 <= pc.min(values).as_py() <= pc.max(values).as_py() <= 1.0:
            raise Fault(f"{name} outside [0, 1]")


def check_runs(table: pa.Table) -> pd.DataFrame:
    """The rows of a shard as a frame, if nothing is wrong with them.

    Raises:
        Fault: schema, ranges, epochs that do not rise by one, a status that does not fit the scores,
            hyperparameters that are no JSON object.
    """
    check_columns(table, Row)
    check_unit(table, _SCORES)
    frame: pd.DataFrame = table.select(arrow_schema(Row).names).to_pandas()
    if frame.empty:
        raise Fault("there are no rows")
    _expect(frame.train_loss.dropna().ge(0), frame, "train_loss below 0")
    _expect(frame.seconds.dropna().ge(0), frame, "seconds below 0")
    _expect((frame.epoch >= 0) & (frame.epoch <= frame.horizon), frame, "epoch outside 0 .. horizon")
    _check_status(frame)
    _check_order(frame)
    for text in frame.hyperparameters.unique():
        _check_json(text)
    return frame


def _check_status(frame: pd.DataFrame) -> None:
    ok = frame.status == "ok"
    _expect(ok | (frame.status == "failed"), frame, "status neither ok nor failed")
    _expect(frame.validation_score.notna() == ok, frame, "a score and a status that do not fit")
    _expect(frame.reason.isna() == ok, frame, "a reason and a status that do not fit")
    _expect(frame.test_score.isna() | (frame.epoch == frame.horizon), frame, "a test score before the end")
    keys = frame.run + "/" + frame.epoch.astype(str)
    _expect(frame.sketch.isna() | (frame.sketch == keys), frame, "a sketch of another run or epoch")


def _check_order(frame: pd.DataFrame) -> None:
    constant = ["hub", "task", "candidate", "hyperparameters", "horizon", "seed"]
    first = frame.groupby("run")[constant].transform("first")
    _expect((frame[constant] == first).all(axis=1), frame, "a run that changes between epochs")
    _expect(~frame.duplicated(["run", "epoch"]), frame, "an epoch twice")
    _expect(frame.groupby("run").epoch.diff().fillna(1) == 1, frame, "epochs that do not rise by one")
    after = (frame.status == "failed").groupby(frame.run).shift(fill_value=False)
    _expect(~after, frame, "an epoch after a failed one")


def _expect(good: pd.Series, frame: pd.DataFrame, otherwise: str) -> None:
    bad = good.index[~good.to_numpy(bool)]
    if len(bad):
        raise Fault(f"{otherwise} in run {frame.run[bad[0]]}, epoch {frame.epoch[bad[0]]}")


def _check_json(text: str) -> None:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise Fault(f"hyperparameters that are no JSON: {text[:60]!r}") from error
    if not isinstance(values, dict):
        raise Fault(f"hyperparameters that are no JSON object: {text[:60]!r}")
