"""Shards of schema version 1, of the small-cnn hub: read once, to be collected into a folder of today's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fms_hub.weights.graph import COLUMNS, STRUCTURAL, WeightGraph
from fms_hub.weights.structure import Structure
from fms_hub.weights.trace import trace
from training.corpus.manifest import MANIFEST
from training.corpus.register import Register
from training.corpus.schema import Fault
from training.corpus.shards import Tensors
from training.corpus.small_cnn import HUB, read_small_task
from training.corpus.small_net import CANDIDATE, PIXELS, SmallCNN


def is_of_version_1(folder: Path) -> bool:
    """Whether the folder's first shard is."""
    path = folder / MANIFEST
    return path.exists() and json.loads(path.read_text().split("\n")[0]).get("schema_version") == 1


def read_small_cnn(folder: Path) -> tuple[pd.DataFrame, Mapping[str, WeightGraph], Tensors]:
    """Rows with today's columns, weight graphs and raw weights.

    Raises:
        Fault: a file is not what the manifest says, or the runs are of another hub.
    """
    frames, sketches, raw = [], Tensors(), Tensors()
    for line in (folder / MANIFEST).read_text().splitlines():
        for name, digest in json.loads(line)["files"].items():
            path = folder / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise Fault(f"{path} is not what the manifest says")
            if name.endswith(".parquet"):
                frames.append(pd.read_parquet(path))
            elif name.endswith(".sketches.safetensors"):
                sketches |= load_file(path)
            elif name.endswith(".raw.safetensors"):
                raw |= load_file(path)
    rows = pd.concat(frames, ignore_index=True)
    if not (rows.candidate == CANDIDATE).all():
        raise Fault(f"{folder}: only small-cnn runs of schema version 1 can be collected")
    rows.insert(1, "hub", HUB)
    structures: dict[int, Structure] = {}
    graphs = {key: _graph(table, structures) for key, table in sketches.items()}
    return rows, graphs, raw


def register(folder: Path, out: Path, data: Path | None) -> None:
    """Describe the tasks and the candidate in the tables of ``out``.

    Raises:
        Fault: ``data`` is None.
    """
    if data is None:
        raise Fault(f"{folder} is of schema version 1; name the folder of the dataset files with --data")
    rows, _, _ = read_small_cnn(folder)
    tables = Register(out, HUB)
    tables.candidate(CANDIDATE)
    for name in sorted(rows.task.unique()):
        read_small_task(data, name, tables)


def _graph(
    table: np.ndarray[tuple[int, int], np.dtype[np.float16]], known: dict[int, Structure]
) -> WeightGraph:
    head = np.flatnonzero(table[:, COLUMNS.index("kind_linear")])[-1]
    classes = round(float(np.expm1(np.float64(table[head, COLUMNS.index("log_fan_out")]))))
    if classes not in known:
        known[classes] = trace(SmallCNN(classes), (1, PIXELS, PIXELS))
    return WeightGraph.of(known[classes], table.astype(np.float32)[:, len(STRUCTURAL) :])
