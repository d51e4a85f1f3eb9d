"""Shards of schema version 1, of the small-cnn hub: read once, to be collected into a folder of today's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from safetensors.numpy import load_file
from torch import Tensor

from fms_hub.corpus import manifest
from fms_hub.corpus.manifest import MANIFEST
from fms_hub.corpus.schema import Fault
from fms_hub.corpus.shards import Tensors
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph
from training.corpus.register import Register
from training.corpus.small_cnn import HUB, read_small_task
from training.corpus.small_net import CANDIDATE, PIXELS, SmallCNN


def is_of_version_1(folder: Path) -> bool:
    """Whether any of the folder's shards is."""
    return any("schema version 1" in refused.why for refused in manifest.read(folder)[1])


def read_small_cnn(folder: Path) -> tuple[pd.DataFrame, Mapping[str, WeightGraph], Tensors]:
    """Rows with today's columns, weight graphs made anew of raw weights, and these.

    A checkpoint whose weights were not kept has no sketch any more.

    Raises:
        Fault: a file is not what the manifest says, or the runs are of another hub.
    """
    frames, raw = [], Tensors()
    for line in (folder / MANIFEST).read_text().splitlines():
        for name, digest in json.loads(line)["files"].items():
            path = folder / name
            if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise Fault(f"{path} is not what the manifest says")
            if name.endswith(".parquet"):
                frames.append(pd.read_parquet(path))
            elif name.endswith(".raw.safetensors"):
                raw |= load_file(path)
    rows = pd.concat(frames, ignore_index=True)
    if not (rows.candidate == CANDIDATE).all():
        raise Fault(f"{folder}: only small-cnn runs of schema version 1 can be collected")
    rows.insert(1, "hub", HUB)
    graphs = _graphs(rows, raw)
    lacking = ~rows.sketch.isin(set(graphs))
    return rows.assign(sketch=rows.sketch.mask(lacking)), graphs, raw


def register(folder: Path, out: Path, data: Path | None) -> None:
    """Describe the tasks and the candidate in the tables of ``out``.

    Raises:
        Fault: ``data`` is None.
    """
    if data is None:
        raise Fault(f"{folder} is of schema version 1; name the folder of the dataset files with --data")
    lines = (folder / MANIFEST).read_text().splitlines()
    names = [name for line in lines for name in json.loads(line)["files"] if name.endswith(".parquet")]
    tasks = {task for name in names for task in pd.read_parquet(folder / name, columns=["task"]).task}
    tables = Register(out, HUB)
    tables.candidate(CANDIDATE)
    for name in sorted(tasks):
        read_small_task(data, name, tables)


def _graphs(rows: pd.DataFrame, raw: Tensors) -> dict[str, WeightGraph]:
    """Weight graphs of today's version, of the weights that were kept."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in raw.items():
        run, epoch, name = key.split("/", 2)
        states.setdefault(f"{run}/{epoch}", {})[name] = torch.from_numpy(value).float()
    activations = {
        run: json.loads(text)["activation"] for run, text in zip(rows.run, rows.hyperparameters, strict=True)
    }
    graphs = {}
    for key, state in states.items():
        net = SmallCNN(len(state["head.bias"]), activations[key.split("/")[0]])
        net.load_state_dict(state)
        graphs[key] = describe(net.eval(), (1, PIXELS, PIXELS))
    return graphs
