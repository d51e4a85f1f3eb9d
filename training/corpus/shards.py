"""Shards: a parquet file of rows and a safetensors file of sketches, written whole and never rewritten."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

SCHEMA_VERSION = 1

Tensors = dict[str, NDArray[np.float16]]


@dataclass(frozen=True)
class Row:
    """One run after one epoch.

    Attributes:
        run: id of the run, see `training.corpus.plan`.
        task, candidate: names.
        hyperparameters: as JSON, keys sorted.
        epoch, horizon: 1 .. horizon; 0 is a network trained from scratch before its first step.
        seed: of the run.
        train_loss: mean over the epoch, nats; None if it failed or nothing was trained.
        validation_score, test_score: accuracy in [0, 1]; the test score at the last epoch only.
        seconds: of the epoch where the run was alone on its cores, else None.
        device: class of the device, ``"cpu"`` or the GPU's name.
        status, reason: as in `fms_hub.records.Observation`.
        sketch: key of the sketch in the file beside, or None.
    """

    run: str
    task: str
    candidate: str
    hyperparameters: str
    epoch: int
    horizon: int
    seed: int
    train_loss: float | None
    validation_score: float | None
    test_score: float | None
    seconds: float | None
    device: str
    status: str
    reason: str | None
    sketch: str | None


def write_shard(
    folder: Path,
    rows: Sequence[Row],
    sketches: Mapping[str, NDArray[np.float16]],
    others: Mapping[str, Mapping[str, NDArray[np.float16]]] | None = None,
) -> Path:
    """Append one shard, named by the hash of its runs; the manifest line comes last.

    A shard without its line in the manifest does not count, so a kill in between loses the shard
    and leaves nothing half-read.

    Args:
        folder: of the shards.
        rows: at least one.
        sketches: by the key that a row names.
        others: further files of tensors by what they hold, e.g. ``"raw"``; empty ones are not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = "shard-" + hashlib.sha256("".join(sorted({row.run for row in rows})).encode()).hexdigest()[:12]
    table = folder / f"{name}.parquet"
    frame = pd.DataFrame([asdict(row) for row in rows], columns=[field.name for field in fields(Row)])
    frame.to_parquet(table.with_suffix(".partial"), index=False)
    table.with_suffix(".partial").replace(table)
    files = [table]
    for kind, tensors in ({"sketches": sketches} | dict(others or {})).items():
        if tensors or kind == "sketches":
            files.append(folder / f"{name}.{kind}.safetensors")
            save_file(dict(tensors), files[-1].with_suffix(".partial"))
            files[-1].with_suffix(".partial").replace(files[-1])
    entry = {
        "schema_version": SCHEMA_VERSION,
        "rows": len(rows),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    with (folder / "manifest.jsonl").open("a") as manifest:
        manifest.write(json.dumps(entry, sort_keys=True) + "\n")
    return table


def read_tensors(folder: Path, kind: str) -> Tensors:
    """All tensors of one kind of all shards in the manifest, by key.

    Args:
        folder: of the shards; check it with `read_shards` first.
        kind: ``"sketches"`` or what `write_shard` was told.
    """
    tensors: Tensors = {}
    for line in (folder / "manifest.jsonl").read_text().splitlines():
        for name in json.loads(line)["files"]:
            if name.endswith(f".{kind}.safetensors"):
                tensors |= load_file(folder / name)
    return tensors


def read_shards(folder: Path) -> pd.DataFrame:
    """All rows of all shards in the manifest.

    Raises:
        ValueError: a file is absent or its hash, schema version or range is wrong; it is named.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        return pd.DataFrame(columns=[field.name for field in fields(Row)])
    frames = [_read(folder, json.loads(line)) for line in manifest.read_text().splitlines()]
    return pd.concat(frames, ignore_index=True)


def _read(folder: Path, entry: Mapping[str, object]) -> pd.DataFrame:
    if entry["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"{folder}: schema version {entry['schema_version']}, expected {SCHEMA_VERSION}.")
    files = entry["files"]
    assert isinstance(files, dict)
    for name, digest in files.items():
        path = folder / name
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"{path} is absent or not what the manifest says; restore it or remove its line."
            )
    frame = pd.read_parquet(folder / next(name for name in files if name.endswith(".parquet")))
    for column in ("validation_score", "test_score"):
        scores = frame[column].dropna()
        if not scores.between(0.0, 1.0).all() or any(map(math.isinf, scores)):
            raise ValueError(f"{folder}: {column} outside [0, 1] in {sorted(files)}.")
    return frame
