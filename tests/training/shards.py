"""Rows of runs, and shards that others forged, for tests of the corpus' format."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fms_hub.corpus import manifest, sketches
from fms_hub.corpus.manifest import Entry
from fms_hub.corpus.schema import Row
from fms_hub.weights.sketch import SKETCH_VERSION


def row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "run": "a", "hub": "h", "task": "t", "candidate": "c", "hyperparameters": "{}",
        "epoch": 1, "horizon": 1, "seed": 0,
        "train_loss": 1.0, "validation_score": 0.5, "test_score": 0.5, "seconds": None, "device": "cpu",
        "status": "ok", "reason": None, "sketch": None,
    }  # fmt: skip
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def run_of(epochs: int, run: str = "a", **changes: object) -> list[Row]:
    rows = [row(run=run, epoch=e, horizon=epochs, test_score=None, **changes) for e in range(1, epochs + 1)]
    return [*rows[:-1], replace(rows[-1], test_score=0.5)]


def forge(folder: Path, table: pa.Table, sketched: pa.Table | None = None, **changes: object) -> str:
    """A shard as another program might contribute it: hashes are right, nothing else was looked at."""
    files = {}
    for name, content in (("shard-forged.parquet", table), ("shard-forged.sketches.parquet", sketched)):
        if content is not None:
            pq.write_table(content, folder / name)
            files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    runs = tuple(dict.fromkeys(table["run"].to_pylist())) if "run" in table.column_names else ("a",)
    entry = Entry(2, "shard-forged", runs, table.num_rows, sketches.PAYLOAD, SKETCH_VERSION, files)
    manifest.append(folder, replace(entry, **changes))
    return "shard-forged"
