"""Contributions as hostile input: every single thing that is wrong is refused in words."""

from __future__ import annotations

import copy
import gzip
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contributions import parquet
from hostilities import (
    BAD_CANDIDATES,
    BAD_TASKS,
    BAD_VALUES,
    ENTRIES,
    KINDS,
    LONG,
    NAMES,
    NOTHING,
    PARCEL,
    SKETCHES,
    STRUCTURES,
    faults,
    retyped,
    rows_table,
)

from fms_hub.corpus.schema import Fault, Row
from training.corpus import hostile
from training.corpus.review import judge


@pytest.mark.parametrize("column", BAD_VALUES)
def test_every_bad_value_of_a_row_is_refused(column: str) -> None:
    for value in BAD_VALUES[column]:
        changes = {column: value}
        try:
            found = faults(PARCEL.with_row(0, **changes))
        except (pa.ArrowException, OverflowError):
            continue  # no table can hold it
        assert found, f"{column} = {value!r}"
        assert LONG not in found[0] and len(found[0]) < 300


@pytest.mark.parametrize(("part", "bad"), [("tasks", BAD_TASKS), ("candidates", BAD_CANDIDATES)])
def test_every_bad_value_beside_the_rows_is_refused(part: str, bad: dict[str, list[Any]]) -> None:
    for column, values in bad.items():
        for value in values:
            rows = copy.deepcopy(getattr(PARCEL, part))
            rows[0][column] = value
            assert faults(PARCEL.but(**{part: rows})), f"{column} = {value!r}"


def test_a_table_of_other_columns_is_refused() -> None:
    for column in Row.__dataclass_fields__:
        for kind in KINDS:
            assert faults(PARCEL.but(rows=retyped(rows_table(), column, kind))), f"{column} {kind}"


@pytest.mark.parametrize("kind", SKETCHES)
def test_a_bad_sketch_is_refused(kind: str) -> None:
    assert faults(PARCEL.but(sketch=SKETCHES[kind]))


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_bad_structure_is_refused(kind: str) -> None:
    assert STRUCTURES[kind] != PARCEL.structure
    assert faults(PARCEL.but(structure=STRUCTURES[kind]))


def test_a_structure_that_unpacks_to_gigabytes_is_refused() -> None:
    (name,) = [name for name in PARCEL.files() if name.startswith("structures/")]
    bomb = gzip.compress(bytes(2**27))
    assert len(bomb) < 200_000
    (fault,) = faults(PARCEL.but(extra={name: bomb}))
    assert "unpacks to more" in fault


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_name_is_refused(name: str) -> None:
    assert faults(PARCEL.but(extra={name: b"x"}))


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_a_bad_manifest_is_refused(number: int) -> None:
    assert faults(PARCEL.but(entry=ENTRIES[number]))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"{}\n", b"[" * 10**5 + b"\n", b"\xff\n", b"{}\n{}\n"])
def test_a_manifest_that_is_none_is_refused(content: bytes | None) -> None:
    assert faults(PARCEL.but(extra={"manifest.jsonl": content}))


def test_a_shard_that_is_not_what_the_manifest_says_is_refused() -> None:
    files = PARCEL.files()
    for name in [name for name in files if name.startswith("shard-")]:
        for at in range(0, len(files[name]), 97):
            changed = bytearray(files[name])
            changed[at] ^= 1
            (fault,) = judge({**files, name: bytes(changed)}, NOTHING)[0].faults
            assert fault == f"{name} is not what the manifest says"


@pytest.mark.parametrize(("length", "why"), [(2**16, "of more than 4096 bytes"), (4096, "unpacks to more")])
def test_a_text_that_repeats_to_gigabytes_is_refused(length: int, why: str) -> None:
    """A word once in a dictionary, and its number in each of many rows: a small file."""
    count = 150_000
    words = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["w" * length]))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"word": words}), buffer, store_schema=False, compression="zstd")
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(Fault, match=why):
        hostile.read_parquet(buffer.getvalue(), pa.schema([("word", pa.string())]), "it")


def test_a_row_that_repeats_a_billion_times_is_refused() -> None:
    table = pa.table({"epoch": pa.array([1], pa.int64())})
    content = parquet(pa.concat_tables([table] * 10).combine_chunks().take(pa.array([0] * 300_000)))
    assert len(content) < 5000
    with pytest.raises(Fault, match="more than 200000 rows"):
        hostile.read_parquet(content, table.schema, "it")
