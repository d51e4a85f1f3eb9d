"""Sketches in a shard: one row a checkpoint; what training does not change is kept once a network.

``structures/HASH.json.gz`` holds the nodes and edges of one network (architecture, classes, image size),
named by the hash of its content, so that weight graphs can be had without building a model.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fms_hub.corpus.schema import Fault
from fms_hub.errors import CheckpointError
from fms_hub.weights import codec
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import FEATURES
from fms_hub.weights.structure import Structure

STRUCTURES = "structures"
PAYLOAD = "packed"
"""How sketches are written now; a manifest line says how its shard's are."""
SCHEMA = pa.schema(
    [
        pa.field("run", pa.string(), False),
        pa.field("epoch", pa.int64(), False),
        pa.field("structure", pa.string(), False),
        pa.field("sketch", pa.binary(), False),
    ]
)


def encode(sketch: NDArray[np.float32]) -> bytes:
    """A sketch (nodes, len(FEATURES)) as `PAYLOAD`."""
    return codec.pack(sketch)


def decode(payload: bytes, kind: str) -> NDArray[np.float32]:
    """The sketch (nodes, len(FEATURES)) that `encode` was given, about.

    Raises:
        Fault: it is of another kind or length, or has NaN or infinity.
    """
    if kind not in _DECODERS:
        raise Fault(f"sketches are written as {kind!r}, which this version cannot read")
    try:
        sketch = _DECODERS[kind](payload)
    except CheckpointError as error:
        raise Fault(f"a sketch is damaged ({error})") from error
    if not np.isfinite(sketch).all():
        raise Fault("a sketch has NaN or infinity")
    return sketch


def _from_half(payload: bytes) -> NDArray[np.float32]:
    if len(payload) % (2 * len(FEATURES)):
        raise Fault("a sketch has a wrong length")
    return np.frombuffer(payload, "<f2").reshape(-1, len(FEATURES)).astype(np.float32)


_DECODERS: dict[str, Callable[[bytes], NDArray[np.float32]]] = {
    "packed": codec.unpack,
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


def to_table(graphs: Mapping[str, WeightGraph]) -> pa.Table:
    """Sketches by ``RUN/EPOCH`` as rows; those that were read from a shard are not encoded anew."""
    packed = graphs.packed() if isinstance(graphs, Graphs) else _packed(graphs)
    rows = [
        {
            "run": key.rpartition("/")[0],
            "epoch": int(key.rpartition("/")[2]),
            "structure": name,
            "sketch": content,
        }
        for key, (name, content) in packed.items()
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def structures(graphs: Mapping[str, WeightGraph]) -> tuple[Structure, ...]:
    """The structures of weight graphs, each once."""
    if isinstance(graphs, Graphs):
        return graphs.structures()
    return tuple({id(graph.structure): graph.structure for graph in graphs.values()}.values())


def _packed(graphs: Mapping[str, WeightGraph]) -> dict[str, tuple[str, bytes]]:
    names = {id(graph.structure): structure_name(graph.structure) for graph in graphs.values()}
    return {
        key: (names[id(graph.structure)], encode(graph.sketch.astype(np.float32)))
        for key, graph in graphs.items()
    }


class Graphs(Mapping[str, WeightGraph]):
    """Weight graphs by ``RUN/EPOCH``, unpacked one by one as they are asked for.

    Args:
        folder: of the shards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: dict[str, tuple[str, bytes, str]] = {}
        self._structures: dict[str, Structure] = {}

    @classmethod
    def of(cls, rows: Mapping[str, tuple[Structure, bytes]]) -> Graphs:
        """Structures and sketches as `PAYLOAD` that are in no folder yet, by ``RUN/EPOCH``."""
        found = {id(structure): structure for structure, _ in rows.values()}
        names = {place: structure_name(structure) for place, structure in found.items()}
        graphs = cls(Path())
        graphs._rows = {key: (names[id(there)], content, PAYLOAD) for key, (there, content) in rows.items()}
        graphs._structures = {names[place]: structure for place, structure in found.items()}
        return graphs

    def structures(self) -> tuple[Structure, ...]:
        """The structures of all, each once."""
        return tuple(self._structure(name) for name in dict.fromkeys(row[0] for row in self._rows.values()))

    def add(self, table: pa.Table, payload: str) -> None:
        """Take in the sketches of one shard, after all of them were seen to be readable.

        Raises:
            Fault: of the schema, of a sketch or of a structure; nothing of the shard is taken in then.
        """
        if table.schema.remove_metadata() != SCHEMA:
            raise Fault("the sketches' columns are not those of the schema")
        rows = {
            f"{row['run']}/{row['epoch']}": (row["structure"], row["sketch"], payload)
            for row in table.to_pylist()
        }
        if len(rows) != table.num_rows:
            raise Fault("a checkpoint is sketched twice")
        for key, (name, content, _) in rows.items():
            if len(decode(content, payload)) != len(self._structure(name).nodes):
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
            key: (name, content if kind == PAYLOAD else encode(decode(content, kind)))
            for key, (name, content, kind) in self._rows.items()
        }

    def _structure(self, name: str) -> Structure:
        if name not in self._structures:
            self._structures[name] = read_structure(self._folder, name)
        return self._structures[name]

    def __getitem__(self, key: str) -> WeightGraph:
        name, content, payload = self._rows[key]
        return WeightGraph.of(self._structure(name), decode(content, payload))

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
