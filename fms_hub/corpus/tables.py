"""The small tables beside the shards, of tasks, candidates, probes ...: rows are added and never changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from fms_hub.corpus import manifest
from fms_hub.corpus.card import write_card
from fms_hub.corpus.faults import check_columns, check_unit
from fms_hub.corpus.schema import CandidateRow, EmbeddingRow, Fault, ProbeRow, TaskRow, to_table
from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import StorageError

FILES: dict[type, str] = {
    TaskRow: "tasks.parquet",
    CandidateRow: "candidates.parquet",
    ProbeRow: "probes.parquet",
    EmbeddingRow: "embeddings.parquet",
}
_KEYS: dict[type, tuple[str, ...]] = {
    TaskRow: ("hub", "name"),
    CandidateRow: ("name",),
    ProbeRow: ("task", "candidate"),
    EmbeddingRow: ("task",),
}
_UNIT: dict[type, tuple[str, ...]] = {
    TaskRow: (),
    CandidateRow: ("accuracy",),
    ProbeRow: ("validation_score", "test_score", "knn", "linear"),
    EmbeddingRow: (),
}

TableRow = TaskRow | CandidateRow | ProbeRow | EmbeddingRow
R = TypeVar("R", bound=TableRow)


def read_table(folder: Path, kind: type[R]) -> list[R]:
    """All rows of one table; none where there is no such file.

    Raises:
        Fault: the file is damaged, or not of the schema; it is named.
    """
    path = folder / FILES[kind]
    if not path.exists():
        return []
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        check_columns(table, kind)
        names = [field.name for field in fields(kind) if field.name in table.column_names]
        check_unit(table, [name for name in _UNIT[kind] if name in names])
    except (pa.ArrowException, OSError, Fault) as error:
        raise Fault(f"{path} cannot be used: {error}") from error
    return [kind(**row) for row in table.select(names).to_pylist()]


def add_rows(folder: Path, kind: type[R], rows: Sequence[R]) -> None:
    """Add the rows that the table does not have yet.

    Raises:
        Fault: the table has another row of the same key, or cannot be read.
        StorageError: the table cannot be written; it stays as it was.
    """
    with manifest.locked(folder):
        known = {_key(row): row for row in read_table(folder, kind)}
        fresh = [row for row in rows if _key(row) not in known]
        for row in rows:
            there = known.get(_key(row), row)
            if there != row:
                raise Fault(
                    f"{folder / FILES[kind]} has another {' '.join(_key(row))}: {_difference(there, row)}"
                )
        if fresh:
            _write(folder, kind, [*known.values(), *fresh])


def _write(folder: Path, kind: type[R], rows: Sequence[R]) -> None:
    table = to_table(rows, kind)
    check_columns(table, kind)
    check_unit(table, _UNIT[kind])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    try:
        write_whole(folder / FILES[kind], buffer.getvalue())
        write_card(folder)
    except OSError as error:
        raise StorageError(f"cannot write {folder / FILES[kind]}: {error}; make room and go on.") from error


def _key(row: TableRow) -> tuple[str, ...]:
    return tuple(str(getattr(row, name)) for name in _KEYS[type(row)])


def _difference(there: TableRow, row: TableRow) -> str:
    names = [field.name for field in fields(row) if getattr(there, field.name) != getattr(row, field.name)]
    return ", ".join(f"{name} {getattr(there, name)!r}, not {getattr(row, name)!r}" for name in names[:3])
