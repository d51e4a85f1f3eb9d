"""Takes a contribution apart as hostile input: what comes through has been seen whole and fits the schema.

Files are bytes in memory, so that what was looked at is what is used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from fms_hub.corpus import grammar, sketches
from fms_hub.corpus.faults import check_columns, check_runs
from fms_hub.corpus.manifest import MANIFEST
from fms_hub.corpus.redaction import anonymous, bundled_names, bundled_row
from fms_hub.corpus.schema import SCHEMA_VERSION, CandidateRow, Fault, Row, TaskRow, arrow_schema
from fms_hub.corpus.sketches import Graphs
from fms_hub.corpus.tables import FILES
from fms_hub.errors import CheckpointError
from fms_hub.weights.sketch import SKETCH_VERSION
from fms_hub.weights.structure import Structure
from training.corpus import hostile

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_SHARD: Final = re.compile(r"shard-[0-9a-f]{12}")
_ENTRY: Final = {"schema_version", "shard", "runs", "rows", "payload", "sketch_version", "files"}
_MOST_STRUCTURE: Final = 2**24
"""Bytes that a structure may unpack to."""
_MOST_SIZE: Final = 10**12
"""Of any number in a structure."""
_MOST_NODES: Final = 2**14
_MOST_ROWS_BESIDE: Final = 2000
"""Of the tables of tasks and candidates."""
R = TypeVar("R", TaskRow, CandidateRow)


@dataclass(frozen=True)
class Admitted:
    """A contribution that is what it says.

    Attributes:
        id: hash of its content.
        frame: rows, columns as in `Row`.
        tasks, candidates: their rows.
        graphs: sketches by ``RUN/EPOCH``.
        bytes: of all files.
    """

    id: str
    frame: pd.DataFrame
    tasks: tuple[TaskRow, ...]
    candidates: tuple[CandidateRow, ...]
    graphs: Graphs
    bytes: int


def identity(files: Mapping[str, bytes]) -> str:
    """The id of a contribution, as `fms_hub.corpus.outbox.identity` gives it for files on disk."""
    lines = [f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def admit(files: Mapping[str, bytes]) -> Admitted:
    """Take a contribution apart.

    Raises:
        Fault: the first thing that is wrong with it.
    """
    hostile.names_and_sizes(files)
    entry = _entry(files)
    shard = entry["shard"]
    frame = _rows(files[f"{shard}.parquet"])
    if list(frame.run.unique()) != entry["runs"] or len(frame) != entry["rows"]:
        raise Fault("its runs are not those of its manifest line")
    tasks = _table(files, TaskRow)
    candidates = _table(files, CandidateRow)
    _check_named([row.name for row in tasks], set(frame.task), "tasks")
    _check_named([row.name for row in candidates], set(frame.candidate), "candidates")
    for task in tasks:
        grammar.check_task(task)
    for candidate in candidates:
        _check_candidate(candidate)
    graphs = _graphs(files, files.get(f"{shard}.sketches.parquet"), set(frame.sketch.dropna()))
    _check_speeds(frame, {row.name: row for row in tasks})
    size = sum(map(len, files.values()))
    return Admitted(identity(files), frame, tasks, candidates, graphs, size)


def _entry(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The only line of the manifest, its types and hashes checked."""
    lines = files.get(MANIFEST, b"").split(b"\n")
    if len(lines) != 2 or lines[1]:
        raise Fault("a contribution has a manifest of one line")
    entry = hostile.read_json(lines[0], "the manifest")
    if not isinstance(entry, dict) or set(entry) != _ENTRY:
        raise Fault("the manifest's line has other fields than those of the schema")
    if type(entry["schema_version"]) is not int or entry["schema_version"] != SCHEMA_VERSION:
        raise Fault(f"it is not of schema version {SCHEMA_VERSION}")
    if type(entry["sketch_version"]) is not int or entry["sketch_version"] != SKETCH_VERSION:
        raise Fault(f"its sketches are not of version {SKETCH_VERSION}")
    if entry["payload"] != sketches.PAYLOAD:
        raise Fault(f"its sketches are not {sketches.PAYLOAD}")
    texts = isinstance(entry["runs"], list) and all(isinstance(run, str) for run in entry["runs"])
    if not texts or type(entry["rows"]) is not int:
        raise Fault("the manifest's line has values of other types than those of the schema")
    _check_hashes(files, entry)
    return entry


def _check_hashes(files: Mapping[str, bytes], entry: Mapping[str, Any]) -> None:
    shard, digests = entry["shard"], entry["files"]
    if not isinstance(shard, str) or not _SHARD.fullmatch(shard) or not isinstance(digests, dict):
        raise Fault("the manifest's line names no shard")
    allowed = {f"{shard}.parquet", f"{shard}.sketches.parquet"}
    there = {name for name in files if name.startswith("shard-")}
    if set(digests) != there or not there <= allowed or f"{shard}.parquet" not in there:
        raise Fault("the shard's files are not those of the manifest")
    for name, digest in digests.items():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise Fault("the manifest has something else for a hash")
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise Fault(f"{name} is not what the manifest says")
    if digests[f"{shard}.parquet"][:12] != shard.removeprefix("shard-"):
        raise Fault("the shard is not named by its hash")


def _rows(content: bytes) -> pd.DataFrame:
    table = hostile.read_parquet(content, arrow_schema(Row), "the table of rows")
    check_columns(table, Row)
    frame = table.to_pandas()
    if frame.empty:
        raise Fault("there are no rows")
    grammar.check_rows(frame)
    if (frame.groupby("run").epoch.first() != 1).any():
        raise Fault("a run that does not begin with its first epoch")
    return check_runs(table)


def _table(files: Mapping[str, bytes], kind: type[R]) -> tuple[R, ...]:
    name = FILES[kind]
    if name not in files:
        raise Fault(f"there is no {name}")
    table = hostile.read_parquet(files[name], arrow_schema(kind), name, _MOST_ROWS_BESIDE)
    check_columns(table, kind)
    return tuple(kind(**row) for row in table.to_pylist())


def _check_named(described: Sequence[str], used: set[str], what: str) -> None:
    if set(described) != used or len(described) != len(used):
        raise Fault(f"the {what} of the rows are not those that are described")


def _check_candidate(row: CandidateRow) -> None:
    grammar.check_candidate(row)
    if row.name.startswith("bundled/"):
        if row.name not in bundled_names():
            raise Fault("a bundled candidate that no package has")
        if row != bundled_row(row.name, row.family):
            raise Fault("a bundled candidate that is described otherwise than in the package")


def _graphs(files: Mapping[str, bytes], content: bytes | None, named: set[str]) -> Graphs:
    """The sketches, all of them unpacked once to see that they can be."""
    structures = {
        name.removeprefix("structures/").removesuffix(".json.gz"): data
        for name, data in files.items()
        if name.startswith("structures/")
    }
    table = sketches.SCHEMA.empty_table()
    if content is not None:
        table = hostile.read_parquet(content, sketches.SCHEMA, "the table of sketches")
    if table.num_rows != len(named):
        raise Fault("rows and sketches name different checkpoints")
    _check_named(list(structures), set(table["structure"].to_pylist()), "structures")
    known = {name: _structure(name, data) for name, data in structures.items()}
    return Graphs.of(_unpacked(table, known, named))


def _unpacked(
    table: pa.Table, known: Mapping[str, Structure], named: set[str]
) -> dict[str, tuple[Structure, bytes]]:
    rows: dict[str, tuple[Structure, bytes]] = {}
    for row in table.to_pylist():
        key = f"{row['run']}/{row['epoch']}"
        with np.errstate(all="ignore"):
            sketch = sketches.decode(row["sketch"], sketches.PAYLOAD)
        if len(sketch) != len(known[row["structure"]].nodes):
            raise Fault("a sketch does not fit its structure")
        rows[key] = known[row["structure"]], row["sketch"]
    if set(rows) != named:
        raise Fault("rows and sketches name different checkpoints")
    return rows


def _structure(name: str, content: bytes) -> Structure:
    raw = hostile.inflate(content, _MOST_STRUCTURE, "a structure")
    if hashlib.sha256(raw).hexdigest()[:16] != name:
        raise Fault("a structure is not what its name says")
    try:
        text = raw.decode()
        hostile.read_json(raw, "a structure")
        structure = Structure.from_json(text)
    except (CheckpointError, ValueError, RecursionError) as error:
        raise Fault("a structure is damaged") from error
    if structure.to_json() != text:
        raise Fault("a structure is not written as this version writes it")
    numbers = [structure.parameters, structure.covered]
    for node in structure.nodes:
        numbers += [node.groups, node.fan_in, node.fan_out, node.parameters, *map(_size, node.tensors)]
    if max(numbers) > _MOST_SIZE or len(structure.nodes) > _MOST_NODES:
        raise Fault("a structure has sizes that no network has")
    if structure != anonymous(structure):
        raise Fault("a structure has words of its author")
    return structure


def _size(tensor: Any) -> int:
    return int(max([tensor.numel, *tensor.shape], default=0))


FASTEST: Final = 1e6
"""Images a second that no machine trains."""


def _check_speeds(frame: pd.DataFrame, tasks: Mapping[str, TaskRow]) -> None:
    images = frame.task.map({name: row.train or 0 for name, row in tasks.items()})
    timed = frame.seconds.notna() & (frame.status == "ok")
    if (images[timed] > FASTEST * frame.seconds[timed]).any():
        raise Fault("seconds: an epoch that is faster than any machine")
