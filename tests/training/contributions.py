"""Contributions as somebody might send them: right in every hash, and wrong wherever a test wants it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fms_hub.corpus import sketches
from fms_hub.corpus.redaction import anonymous
from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Row, TaskRow, arrow_schema
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import SKETCH_VERSION

TASK = "task-00112233445566aa"
RUNS = tuple(f"{i:016x}" for i in (10, 11, 12))
Values = dict[str, Any]


def row(run: int, epoch: int, /, **changes: Any) -> Values:
    """One well-formed row; run 2 fails in its second epoch."""
    failed = (run, epoch) == (2, 2)
    found = {
        "run": RUNS[run], "hub": "contributed", "task": TASK,
        "candidate": ("bundled/test_vit.mnist", "private-0123456789abcdef", "org/net@v1.0")[run],
        "hyperparameters": json.dumps({"learning_rate": 0.001 * (run + 1), "x-01234567": 3}),
        "epoch": epoch, "horizon": 2, "seed": 7, "train_loss": None if failed else 1.0 / epoch + run / 7,
        "validation_score": None if failed else 0.25 * epoch,
        "test_score": 0.5 if (run, epoch) == (0, 2) else None, "seconds": 1.5, "device": "cpu",
        "status": "failed" if failed else "ok", "reason": "diverged" if failed else None,
        "sketch": f"{RUNS[0]}/1" if (run, epoch) == (0, 1) else None,
    }  # fmt: skip
    return {**found, **changes}


def task(**changes: Any) -> Values:
    found = {
        "hub": "contributed", "name": TASK, "group": TASK, "classes": 10, "images": None, "train": 1200,
        "validation": 300, "test": None, "image_size": 32, "metric": "accuracy", "fingerprint": "ab" * 32,
        "features": dict.fromkeys(META_FEATURES, 0.5), "licence": "unknown",
        "source": "a search that was contributed",
    }  # fmt: skip
    return {**found, **changes}


def candidates() -> list[Values]:
    from fms_hub.corpus.redaction import bundled_row

    unknown = {
        "architecture": "unknown", "family": "unknown", "source": "unknown", "epochs": None, "accuracy": None,
        "parameters": 300_000, "licence": "unknown", "research_only": True,
    }  # fmt: skip
    own = vars(bundled_row("bundled/test_vit.mnist", "vision_transformer"))
    return [dict(own), {"name": "private-0123456789abcdef", **unknown}, {"name": "org/net@v1.0", **unknown}]


@dataclass(frozen=True)
class Parcel:
    """A contribution before it is written; every part can be replaced.

    Attributes:
        rows: a table, or what becomes one by the schema.
        structure, sketch: of the only checkpoint; the structure as JSON.
        extra: further files, or other contents of files.
        entry: changes of the manifest's line.
    """

    structure: bytes
    sketch: bytes
    rows: Any = field(default_factory=lambda: [row(run, epoch) for run in range(3) for epoch in (1, 2)])
    tasks: Any = field(default_factory=lambda: [task()])
    candidates: Any = field(default_factory=candidates)
    sketched: Any = None
    extra: Mapping[str, bytes | None] = field(default_factory=dict)
    entry: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: WeightGraph) -> Parcel:
        told = anonymous(graph.structure)
        return cls(told.to_json().encode(), sketches.encode(graph.sketch))

    def but(self, **changes: Any) -> Parcel:
        return replace(self, **changes)

    def with_row(self, index: int, **changes: Any) -> Parcel:
        rows = [{**found, **changes} if i == index else found for i, found in enumerate(self.rows)]
        return self.but(rows=rows)

    def files(self) -> dict[str, bytes]:
        """The files, all hashes and names right."""
        table = _table(self.rows, Row)
        name = hashlib.sha256(self.structure).hexdigest()[:16]
        beside = {"run": RUNS[0], "epoch": 1, "structure": name, "sketch": self.sketch}
        sketched = self.sketched
        if sketched is None:
            sketched = pa.Table.from_pylist([beside], schema=sketches.SCHEMA)
        content, content_beside = parquet(table), parquet(sketched)
        shard = "shard-" + hashlib.sha256(content).hexdigest()[:12]
        found: dict[str, bytes | None] = {
            f"{shard}.parquet": content,
            f"{shard}.sketches.parquet": content_beside,
            "tasks.parquet": parquet(_table(self.tasks, TaskRow)),
            "candidates.parquet": parquet(_table(self.candidates, CandidateRow)),
            f"structures/{name}.json.gz": gzip.compress(self.structure, mtime=0),
            "README.md": b"a card",
        }
        digests = {
            file: hashlib.sha256(data or b"").hexdigest() for file, data in found.items() if shard in file
        }
        told = (
            table.column(table.column_names.index("run")).to_pylist() if "run" in table.column_names else []
        )
        runs = list(dict.fromkeys(map(str, told)))
        entry = {
            "schema_version": 2, "shard": shard, "runs": runs, "rows": table.num_rows, "payload": "packed",
            "sketch_version": SKETCH_VERSION, "files": digests,
        }  # fmt: skip
        found["manifest.jsonl"] = json.dumps({**entry, **self.entry}, default=str).encode() + b"\n"
        return {file: data for file, data in {**found, **self.extra}.items() if data is not None}


def parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _table(rows: Any, kind: type) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    schema = arrow_schema(kind)
    open_schema = pa.schema([found.with_nullable(found.nullable) for found in schema])
    return pa.Table.from_pylist(rows, schema=open_schema)
