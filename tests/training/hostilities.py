"""What is wrong with contributions that nobody should accept, one thing at a time."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pyarrow as pa
from contributions import RUNS, TASK, Parcel

from fms_hub.corpus.schema import Row, arrow_schema, to_table
from fms_hub.weights.describe import describe
from training.corpus.review import judge
from training.corpus.small_net import PIXELS, SmallCNN

NOTHING = to_table([], Row).to_pandas()
PARCEL = Parcel.of(describe(SmallCNN(10), (1, PIXELS, PIXELS)))


def faults(parcel: Parcel) -> tuple[str, ...]:
    return judge(parcel.files(), NOTHING)[0].faults


LONG = "a" * 5000
BAD_VALUES: dict[str, list[Any]] = {
    "run": ["", "x", "../../etc/passwd", "G" * 16, RUNS[0].upper(), "0" * 17, "\0" * 16],
    "hub": ["timm-tiny", "", "contributed ", "../contributed"],
    "task": ["mnist", f"../{TASK}", TASK + "0", "task-00112233445566AA", "task-ffffffffffffffff"],
    "candidate": [
        "/etc/passwd", "../x", "local-dir:/home/x", "a/b/c", "private-1", "bundled/../../x", "bundled/absent",
        "x" * 300, "org/net@", "org/ne t", "scratch:", "-org/net",
    ],
    "hyperparameters": [
        "", "[]", "null", "3", '"x"', "{", '{"learning_rate": NaN}', '{"learning_rate": 1e999}',
        '{"learning_rate": -1}', '{"learning_rate": "0.1"}', '{"learning_rate": {"a": 1}}', '{"path": 1}',
        '{"learning_rate": [1]}', '{"learning_rate": 1, "learning_rate": 2}', "[" * 3000, '{"a":' * 600 + "1",
        '{"optimizer": "rm -rf"}', '{"batch_size": 2.5}', '{"x-01234567": "words"}', '{"x-0123": 1}',
        '{"x-01234567": 1' + "0" * 3000 + "}", '{"batch_size": true}', '{"x-01234567": null}', LONG,
    ],
    "epoch": [0, -1, 3, 5, 2**62, -(2**63)],
    "horizon": [0, -1, 1, 3, 2**62],
    "seed": [-1, 2**31, 2**62, 8],
    "train_loss": [math.nan, math.inf, -math.inf, -1e-9, 1e300],
    "validation_score": [math.nan, math.inf, -1e-9, 1.0 + 1e-9, None],
    "test_score": [math.nan, 2.0, -0.1, 0.5],
    "seconds": [math.nan, math.inf, -1.0, 0.0, 1e-9, 1e-4, 1e9],
    "device": ["", "alice-laptop", "cpu ", LONG],
    "status": ["", "fine", "failed", "OK"],
    "reason": ["", "diverged", "because alice said so"],
    "sketch": [f"{RUNS[1]}/1", f"{RUNS[0]}/2", "../x", ""],
}  # fmt: skip
"""Wrong in the first row, whatever else is right."""

BAD_TASKS: dict[str, list[Any]] = {
    "hub": ["x"], "name": ["mnist", "../x"], "group": ["mnist", ""], "classes": [1, 0, -5, 2**60],
    "images": [5], "train": [-1, 2**60], "validation": [-1], "test": [-1, 2**62],
    "image_size": [0, -1, 2**40],
    "metric": ["auc", ""], "fingerprint": ["", "ab", "/home/alice"], "licence": ["mine", LONG],
    "source": ["alice", ""], "features": [{}, {"log_images": math.nan}, {"log_images": 1e9}],
}  # fmt: skip
BAD_CANDIDATES: dict[str, list[Any]] = {
    "name": ["x", "../x", "private-ffffffffffffffff"], "architecture": ["", "a b", LONG, "resnet50"],
    "family": ["", "/x", "a b"], "source": ["", "a/b"], "epochs": [-1, 2**60, 99],
    "accuracy": [-0.1, 1.1, math.nan, 0.1],
    "parameters": [-1, 2**60, 1], "licence": ["\n", LONG, "mine"], "research_only": [True],
}  # fmt: skip
"""Wrong for the first candidate, which is one of the package's."""


def retyped(table: pa.Table, column: str, kind: str) -> pa.Table:
    """The table with a column of another type, name or place."""
    at, values = table.column_names.index(column), table[column].to_pylist()
    others: dict[str, Callable[[], pa.Array]] = {
        "list": lambda: pa.array([[value] for value in values]),
        "struct": lambda: pa.array([{"a": value} for value in values]),
        "text": lambda: pa.array([str(value) for value in values], pa.large_string()),
        "bytes": lambda: pa.array([str(value).encode() for value in values]),
        "short": lambda: pa.array([1] * len(values), pa.int32()),
        "nulls": lambda: pa.nulls(len(values)),
        "map": lambda: pa.array([[("a", 1)]] * len(values), pa.map_(pa.string(), pa.int64())),
        "deep": lambda: pa.array([[[[[1]]]]] * len(values)),
    }
    if kind == "gone":
        return table.drop_columns([column])
    if kind == "twice":
        return table.append_column(column, table[column])
    if kind == "renamed":
        return table.rename_columns([f"{name}_" if name == column else name for name in table.column_names])
    return table.set_column(at, column, others[kind]())


KINDS = ("list", "struct", "text", "bytes", "short", "nulls", "map", "deep", "gone", "twice", "renamed")


def rows_table() -> pa.Table:
    return pa.Table.from_pylist(PARCEL.rows, schema=arrow_schema(Row))


def sketch_of(raw: bytes) -> bytes:
    return zlib.compress(raw, 9)


SKETCHES: dict[str, bytes] = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "cut": PARCEL.sketch[:-5],
    "other version": sketch_of(b"\x01" + zlib.decompress(PARCEL.sketch)[1:]),
    "other network": sketch_of(zlib.decompress(PARCEL.sketch)[:1] + struct.pack("<H", 9) + bytes(9)),
    "bomb": sketch_of(bytes(2**26)),
    "infinite": sketch_of(
        (raw := zlib.decompress(PARCEL.sketch))[:9] + struct.pack("<e", math.inf) * 200 + raw[409:]
    ),
}


def restructured(change: Callable[[dict[str, Any]], Any]) -> bytes:
    raw = json.loads(PARCEL.structure)
    return json.dumps(change(raw) or raw, separators=(",", ":")).encode()


STRUCTURES: dict[str, bytes] = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "nested": b"[" * 10**6,
    "words": PARCEL.structure.replace(b'"t0"', b'"alice"'),
    "reason": restructured(lambda raw: raw.update(reason="/home/alice")),
    "sizes": restructured(lambda raw: raw.update(parameters=10**400)),
    "fan": restructured(lambda raw: raw["nodes"][1].__setitem__(4, 10**30)),
    "edges": restructured(lambda raw: raw.update(edges=[[0, 999]])),
    "node missing": restructured(lambda raw: raw["nodes"].pop()),
    "twice": PARCEL.structure.replace(b'{"nodes"', b'{"rung":"meta","nodes"'),
}


NAMES = [
    "../evil.parquet", "/etc/passwd", "structures/../../x", "evil.py", "shard-0.parquet", "a\0b", ".lock",
    "structures/0/1.json.gz", "shard-000000000000.parquet", "tasks.parquet.partial",
]  # fmt: skip


ENTRIES: list[dict[str, Any]] = [
    {"schema_version": 1}, {"schema_version": 2.0}, {"schema_version": True}, {"shard": "../x"}, {"shard": 3},
    {"runs": []}, {"runs": "abc"}, {"runs": [1, 2, 3]}, {"rows": 7}, {"rows": "6"}, {"rows": -1},
    {"payload": "pickle"}, {"payload": ["packed"]}, {"sketch_version": 99}, {"files": {}}, {"files": []},
    {"files": {"../../x": "00"}}, {"more": 1}, {"runs": list(RUNS[::-1])}, {"shard": "shard-000000000000"},
]  # fmt: skip
