"""Sketches in a shard: one row a checkpoint; what training does not change is kept once a network.

``structures/HASH.json.gz`` holds the nodes and edges of one network (architecture, classes, image size),
named by the hash of its content, so that weight graphs can be had without building a model.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fms_hub.corpus.schema import Fault
from fms_hub.errors import CheckpointError
from fms_hub.weights import codec, series
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.structure import Structure

STRUCTURES = "structures"
PAYLOAD = "packed"
"""How sketches are written where each stands alone; a manifest line says how its shard's are."""
SERIES = "series"
"""How they are written where size counts: each after the one of the same run in the row before, coarser."""
Sketch = NDArray[np.float32]
SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), False),
        pa.field("epoch", pa.int64(), False),
        pa.field("structure", pa.string(), False),
        pa.field("sketch", pa.binary(), False),
    ]
)


def encode(sketch: Sketch) -> bytes:
    """A sketch (nodes, len(FEATURES)) as `PAYLOAD`."""
    return codec.pack(sketch)


def decode(payload: bytes, kind: str, before: Sketch | None = None) -> Sketch:
    """The sketch (nodes, len(FEATURES)) that was written, about.

    Args:
        payload: what was written.
        kind: how.
        before: of a `SERIES`, the sketch of the row before, if it is of the same run and network.

    Raises:
        Fault: it is of another kind or length, or has NaN or infinity.
    """
    if kind not in _DECODERS:
        raise Fault(f"sketches are written as {kind!r}, which this version cannot read")
    try:
        sketch = _DECODERS[kind](payload, before)
    except CheckpointError as error:
        raise Fault(f"a sketch is damaged ({error})") from error
    if not np.isfinite(sketch).all():
        raise Fault("a sketch has NaN or infinity")
    return sketch


def _from_half(payload: bytes, _before: Sketch | None) -> Sketch:
    if len(payload) % (2 * len(FEATURES)):
        raise Fault("a sketch has a wrong length")
    return np.frombuffer(payload, "<f2").reshape(-1, len(FEATURES)).astype(np.float32)


_DECODERS: dict[str, Callable[[bytes, Sketch | None], Sketch]] = {
    PAYLOAD: lambda payload, _before: codec.unpack(payload),
    SERIES: series.unpack_after,
    "float16": _from_half,
}
"""All payloads that shards may have."""


def structure_name(structure: Structure) -> str:
    """First 16 hexadecimal digits of the sha256 of its JSON."""
    return hashlib.sha256(structure.to_json().encode()).hexdigest()[:16]


def structure_file(structure: Structure) -> bytes:
    """The content of its file, the same on every machine."""
    return gzip.compress(structure.to_json().encode(), mtime=0)


def read_structure(folder: Path, name: str) -> Structure:
    """Read one structure of a folder of shards.

    Raises:
        Fault: it is absent, damaged or not what its name says.
    """
    path = folder / STRUCTURES / f"{name}.json.gz"
    try:
        text = gzip.decompress(path.read_bytes()).decode()
        structure = Structure.from_json(text)
    except (OSError, EOFError, ValueError, CheckpointError) as error:
        raise Fault(f"{STRUCTURES}/{path.name} cannot be read ({error})") from error
    if hashlib.sha256(text.encode()).hexdigest()[:16] != name:
        raise Fault(f"{STRUCTURES}/{path.name} is not what its name says")
    return structure


def to_table(graphs: Mapping[str, WeightGraph], payload: str = PAYLOAD) -> pa.Table:
    """Sketches by ``RUN/EPOCH`` as rows; those that were read from a shard as `PAYLOAD` stay as they are.

    Args:
        graphs: to be written.
        payload: how, `PAYLOAD` or `SERIES`.
    """
    if payload == SERIES:
        content = _series(graphs)
    else:
        content = graphs.packed() if isinstance(graphs, Graphs) else _packed(graphs)
    rows = [
        {"run": run, "epoch": epoch, "structure": name, "sketch": sketch}
        for key, (name, sketch) in content.items()
        for run, epoch in [_place(key)]
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def structures(graphs: Mapping[str, WeightGraph]) -> tuple[Structure, ...]:
    """The structures of weight graphs, each once."""
    if isinstance(graphs, Graphs):
        return graphs.structures()
    return tuple({id(graph.structure): graph.structure for graph in graphs.values()}.values())


def _packed(graphs: Mapping[str, WeightGraph]) -> dict[str, tuple[str, bytes]]:
    names = _names(graphs)
    return {
        key: (names[id(graph.structure)], encode(graph.sketch.astype(np.float32)))
        for key, graph in graphs.items()
    }


def _series(graphs: Mapping[str, WeightGraph]) -> dict[str, tuple[str, bytes]]:
    written: dict[str, tuple[str, bytes]] = {}
    last: dict[tuple[str, str], Sketch] = {}
    names = _names(graphs)
    for run, epoch, key in sorted((*_place(key), key) for key in graphs):
        graph = graphs[key]
        name = names[id(graph.structure)]
        before = last.get((run, name))
        content = series.pack_after(graph.sketch, before)
        last[run, name] = series.unpack_after(content, before)
        written[f"{run}/{epoch}"] = name, content
    return written


def _names(graphs: Mapping[str, WeightGraph]) -> dict[int, str]:
    return {id(structure): structure_name(structure) for structure in structures(graphs)}


def _place(key: str) -> tuple[str, int]:
    run, _, epoch = key.rpartition("/")
    return run, int(epoch)


@dataclass(frozen=True, eq=False)
class _Stored:
    """One row: the name of its structure, its content and how that is written, and the row it follows."""

    structure: str
    content: bytes
    payload: str
    before: _Stored | None = None


@lru_cache(maxsize=4)
def _sketch(stored: _Stored) -> Sketch:
    """Read in order, each row of a series is decoded once."""
    before = None if stored.before is None else _sketch(stored.before)
    return decode(stored.content, stored.payload, before)


class Graphs(Mapping[str, WeightGraph]):
    """Weight graphs by ``RUN/EPOCH``, unpacked one by one as they are asked for.

    Args:
        folder: of the shards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, _Stored] = {}
        self._structures: dict[str, Structure] = {}

    @classmethod
    def of(cls, rows: Mapping[str, tuple[Structure, bytes]]) -> Graphs:
        """Structures and sketches as `PAYLOAD` that are in no folder yet, by ``RUN/EPOCH``."""
        found = {id(structure): structure for structure, _ in rows.values()}
        names = {place: structure_name(structure) for place, structure in found.items()}
        graphs = cls(Path())
        graphs._rows = {
            key: _Stored(names[id(there)], content, PAYLOAD) for key, (there, content) in rows.items()
        }
        graphs._structures = {names[place]: structure for place, structure in found.items()}
        return graphs

    def structures(self) -> tuple[Structure, ...]:
        """The structures of all, each once."""
        return tuple(
            self._structure(name) for name in dict.fromkeys(row.structure for row in self._rows.values())
        )

    def add(self, table: pa.Table, payload: str) -> None:
        """Take in the sketches of one shard, after all of them were seen to be readable.

        Raises:
            Fault: of the schema, of a sketch or of a structure; nothing of the shard is taken in then.
        """
        if table.schema.remove_metadata() != SCHEMA:
            raise Fault("the sketches' columns are not those of the schema")
        rows: dict[str, _Stored] = {}
        last: dict[tuple[str, str], _Stored] = {}
        for row in table.to_pylist():
            thread = row["run"], row["structure"]
            before = last.get(thread) if payload == SERIES else None
            last[thread] = _Stored(row["structure"], row["sketch"], payload, before)
            rows[f"{row['run']}/{row['epoch']}"] = last[thread]
        if len(rows) != table.num_rows:
            raise Fault("a checkpoint is sketched twice")
        for key, stored in rows.items():
            if len(_sketch(stored)) != len(self._structure(stored.structure).nodes):
                raise Fault(f"the sketch {key} does not fit its structure")
        self._rows |= rows

    def chosen(self, keys: Iterable[str]) -> Graphs:
        """Some of them."""
        some = Graphs(self._folder)
        some._rows = {key: self._rows[key] for key in keys}
        some._structures = self._structures
        return some

    def packed(self) -> dict[str, tuple[str, bytes]]:
        """Name of the structure and `PAYLOAD` of each."""
        return {
            key: (row.structure, row.content if row.payload == PAYLOAD else encode(_sketch(row)))
            for key, row in self._rows.items()
        }

    def _structure(self, name: str) -> Structure:
        if name not in self._structures:
            self._structures[name] = read_structure(self._folder, name)
        return self._structures[name]

    def __getitem__(self, key: str) -> WeightGraph:
        row = self._rows[key]
        return WeightGraph.of(self._structure(row.structure), _sketch(row))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
