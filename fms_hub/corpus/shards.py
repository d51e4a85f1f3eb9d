"""Shards: tables of runs with sketches and tensors beside them, appended whole and never rewritten."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save

from fms_hub.corpus import eightbit, manifest, sketches
from fms_hub.corpus.card import write_card
from fms_hub.corpus.faults import check_runs
from fms_hub.corpus.manifest import Entry, Refused
from fms_hub.corpus.schema import SCHEMA_VERSION, Fault, Row, to_table
from fms_hub.corpus.sketches import Graphs
from fms_hub.corpus.wholefile import PARTIAL, write_whole
from fms_hub.errors import StorageError
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import SKETCH_VERSION

__all__ = ["Corpus", "Refused", "Row", "Tensors", "check_shards", "read_corpus", "read_graphs", "read_shards",
           "read_tensors", "warn", "write_shard"]  # fmt: skip

Tensors = dict[str, NDArray[np.float16]]
_LOGGER = logging.getLogger(__name__)
RAW = "raw"
"""Tensors of this kind are weights, by ``RUN/EPOCH/NAME``."""
EIGHT_BIT = "-8bit.safetensors"


@dataclass(frozen=True)
class Corpus:
    """A folder of shards as far as it can be used.

    Attributes:
        folder: where it lies.
        rows: of all shards, columns as in `Row`, null as NaN.
        graphs: weight graphs by the keys in the column ``sketch``.
        shards: those that count.
        refused: those that do not, by name.
        listed: all that the manifest lists.
    """

    folder: Path
    rows: pd.DataFrame
    graphs: Graphs
    shards: tuple[Entry, ...]
    refused: tuple[Refused, ...]
    listed: tuple[Entry, ...]

    def tensors(self, kind: str) -> Tensors:
        """All tensors of one kind, by key: ``"raw"``, ``"plain"`` or what `write_shard` was told.

        Raises:
            Fault: a file of weights in eight bits is damaged.
        """
        found: Tensors = {}
        for entry in self.shards:
            name = f"{entry.shard}.{kind}.safetensors"
            if name in entry.files:
                found |= load_file(self.folder / name)
            if (small := f"{entry.shard}.{kind}{EIGHT_BIT}") in entry.files:
                found |= eightbit.unpack(self.folder / small)
        return found

    def checkpoints(self, kind: str) -> set[str]:
        """What tensors of one kind there are of, as ``RUN/EPOCH``, from the files' headers alone."""
        names = [f"{e.shard}.{kind}{end}" for e in self.shards for end in (".safetensors", EIGHT_BIT)]
        found: set[str] = set()
        for name in {name for entry in self.shards for name in entry.files} & set(names):
            with safe_open(self.folder / name, framework="numpy") as file:
                found |= {"/".join(key.partition("@")[0].split("/")[:2]) for key in file.keys()}  # noqa: SIM118
        return found


def read_corpus(folder: Path) -> Corpus:
    """Read a folder of shards; what has a fault is refused by name and the rest loads.

    A shard is refused for an absent or changed file, another schema version, columns, ranges, NaN,
    epochs that do not rise by one, a run that an earlier shard has, a sketch that cannot be unpacked.
    """
    entries, refused = manifest.read(folder)
    frames = [to_table([], Row).to_pandas()]
    graphs = Graphs(folder)
    known: dict[str, str] = {}
    shards: list[Entry] = []
    faults = list(refused)
    for entry in entries:
        try:
            frame = _read(folder, entry, known, graphs)
        except Fault as fault:
            faults.append(Refused(entry.shard, str(fault)))
            continue
        known |= dict.fromkeys(frame.run.unique(), entry.shard)
        frames.append(frame)
        shards.append(entry)
    rows = pd.concat(frames[1:] or frames, ignore_index=True)
    return Corpus(folder, rows, graphs, tuple(shards), tuple(faults), entries)


def read_shards(folder: Path) -> pd.DataFrame:
    """All rows of all shards that count; each refused shard is logged as a warning."""
    corpus = read_corpus(folder)
    warn(corpus)
    return corpus.rows


def warn(corpus: Corpus) -> None:
    """Log what was refused."""
    for refused in corpus.refused:
        _LOGGER.warning("%s: %s is refused: %s", corpus.folder, refused.name, refused.why)


def check_shards(folder: Path) -> tuple[Refused, ...]:
    """Shards and manifest lines that do not count, and why; empty if nothing is wrong."""
    return read_corpus(folder).refused


def read_graphs(folder: Path) -> Mapping[str, WeightGraph]:
    """Weight graphs of all shards that count, by ``RUN/EPOCH``, each unpacked when it is asked for."""
    return read_corpus(folder).graphs


def read_tensors(folder: Path, kind: str) -> Tensors:
    """All tensors of one kind of all shards that count; see `Corpus.tensors`."""
    return read_corpus(folder).tensors(kind)


def write_shard(
    folder: Path,
    rows: Sequence[Row],
    graphs: Mapping[str, WeightGraph],
    others: Mapping[str, Mapping[str, NDArray[np.float16]]] | None = None,
    *,
    compact: bool = False,
) -> Path:
    """Append one shard, named by the hash of its rows; the manifest line comes last.

    A shard without its line in the manifest does not count, so a kill in between loses the shard
    and leaves nothing half-read.

    Args:
        folder: of the shards; made if absent.
        rows: whole runs, at least one.
        graphs: by the key that a row names.
        others: further files of tensors by what they hold, e.g. ``"raw"``; empty ones are not written.
        compact: in fewer bytes, coarser, slower to write: sketches as `sketches.SERIES`, weights in 8 bits.

    Raises:
        Fault: a row that a reader would refuse; nothing is written.
        StorageError: the disk is full or cannot be written; the shards before this one are kept.
    """
    table = to_table(rows, Row)
    frame = check_runs(table)
    _check_keys(frame, graphs)
    content = _parquet(table)
    payload = sketches.SERIES if compact else sketches.PAYLOAD
    shard = "shard-" + hashlib.sha256(content).hexdigest()[:12]
    files = {f"{shard}.parquet": content}
    if graphs:
        sketched = sketches.to_table(graphs, payload)
        files[f"{shard}.sketches.parquet"] = _parquet(sketched, "brotli" if compact else "zstd")
    for kind, tensors in (others or {}).items():
        if tensors:
            files |= _tensor_file(f"{shard}.{kind}", tensors, compact=compact and kind == RAW)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    runs = tuple(str(run) for run in frame.run.unique())
    entry = Entry(SCHEMA_VERSION, shard, runs, len(rows), payload, SKETCH_VERSION, digests)
    try:
        with manifest.locked(folder):
            _append(folder, entry, files, graphs)
    except OSError as error:
        raise StorageError(_lost(folder, len(runs), error)) from error
    return folder / f"{shard}.parquet"


def _append(
    folder: Path, entry: Entry, files: Mapping[str, bytes], graphs: Mapping[str, WeightGraph]
) -> None:
    """Write files, then the manifest line; leave nothing of a new shard behind if that fails."""
    for partial in folder.glob(f"*{PARTIAL}"):  # of a writer that was killed: nobody else holds the lock
        partial.unlink()
    known = entry in manifest.read(folder)[0]
    try:
        _write_structures(folder / sketches.STRUCTURES, graphs)
        for name, content in files.items():
            write_whole(folder / name, content)
        if not known:
            manifest.append(folder, entry)
            write_card(folder)
    except OSError:
        if entry not in manifest.read(folder)[0]:
            for name in files:
                (folder / name).unlink(missing_ok=True)
        raise


def _write_structures(folder: Path, graphs: Mapping[str, WeightGraph]) -> None:
    folder.mkdir(exist_ok=True)
    for structure in sketches.structures(graphs):
        path = folder / f"{sketches.structure_name(structure)}.json.gz"
        if not path.exists():
            write_whole(path, sketches.structure_file(structure))


def _lost(folder: Path, runs: int, error: OSError) -> str:
    kept = manifest.read(folder)[0]
    return (
        f"cannot write {runs} runs to {folder}: {error.strerror or error}. "
        f"{sum(len(entry.runs) for entry in kept)} runs in {len(kept)} shards are kept. "
        "Make room and give the same command again: it goes on from there."
    )


def _tensor_file(name: str, tensors: Mapping[str, NDArray[np.float16]], *, compact: bool) -> dict[str, bytes]:
    # safetensors writes the bytes of another memory order as they lie, under the array's shape.
    ordered = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    return (
        {f"{name}{EIGHT_BIT}": eightbit.pack(ordered)} if compact else {f"{name}.safetensors": save(ordered)}
    )


def _parquet(table: pa.Table, compression: str = "zstd") -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression=compression)
    return buffer.getvalue()


def _check_keys(frame: pd.DataFrame, graphs: Mapping[str, Any]) -> None:
    named = set(frame.sketch.dropna())
    if named != set(graphs):
        raise Fault(f"rows and sketches name different checkpoints: {sorted(named ^ set(graphs))[:4]}")


def _read(folder: Path, entry: Entry, known: Mapping[str, str], graphs: Graphs) -> pd.DataFrame:
    if entry.schema_version != SCHEMA_VERSION:
        raise Fault(f"schema version {entry.schema_version}, expected {SCHEMA_VERSION}")
    for name, digest in entry.files.items():
        if Path(name).name != name or not name.startswith(f"{entry.shard}."):
            raise Fault(f"{name!r} is no file of this shard")
        if manifest.sha256(folder / name) != digest:
            raise Fault(f"{name} is not what the manifest says; restore it or remove its line")
    frame = check_runs(_table(folder / f"{entry.shard}.parquet"))
    if set(frame.run) != set(entry.runs) or len(frame) != entry.rows:
        raise Fault("its runs are not those of its manifest line")
    twice = next((run for run in entry.runs if run in known), None)
    if twice is not None:
        raise Fault(f"run {twice} is in {known[twice]} already")
    beside = f"{entry.shard}.sketches.parquet"
    table = _table(folder / beside) if beside in entry.files else sketches.SCHEMA.empty_table()
    if table.num_rows and entry.sketch_version != SKETCH_VERSION:
        raise Fault(f"sketches of version {entry.sketch_version}, expected {SKETCH_VERSION}")
    _check_keys(frame, dict.fromkeys(f"{row['run']}/{row['epoch']}" for row in _keys(table)))
    graphs.add(table, entry.payload)
    return frame


def _keys(table: pa.Table) -> list[dict[str, Any]]:
    if not {"run", "epoch"} <= set(table.column_names):
        raise Fault("the sketches' columns are not those of the schema")
    rows: list[dict[str, Any]] = table.select(["run", "epoch"]).to_pylist()
    return rows


def _table(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise Fault(f"{path.name} cannot be read ({error})") from error
