"""A hub of runs as tables: one row per run, one set of feature blocks per early epoch.

n = runs of the hub that reached their horizon.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fms_hub.corpus.schema import TaskRow
from fms_hub.corpus.shards import Tensors, read_corpus, warn
from fms_hub.corpus.tables import read_table
from fms_hub.records import Value
from fms_hub.search.space import Space
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.pooling import POOLED
from fms_hub.weights.responses import RESPONSE_FEATURES
from fms_hub.weights.structure import Structure
from training.corpus.plain import plain_statistics, statistics
from training.corpus.small_net import CANDIDATE, INITIALISATIONS, PIXELS

Array = NDArray[np.float64]
_WEIGHTS = slice(None, -len(RESPONSE_FEATURES))
_ANSWERS = slice(-len(RESPONSE_FEATURES), None)
"""Columns of a sketch."""
EPOCHS = (1, 2, 4)
"""The checkpoints that finals are predicted from; a hub has those at which it was sketched."""


@dataclass(frozen=True)
class View:
    """What is known of every run after one early epoch, in the hub's order.

    Attributes:
        blocks: features by name, each (n, width), width 0 says nothing: ``metadata`` (the candidate,
            nothing of its weights), ``hyperparameters``, ``curve``, ``plain``, ``L1`` and ``L4``:
            statistics, sketches and answers to synthetic images of all nodes end to end in the hub of one
            architecture, pooled in the other; ``plain pooled``, ``L1 pooled`` and ``L4 pooled``: pooled in
            the hub of one architecture.
        graphs: weight graphs.
    """

    blocks: Mapping[str, Array]
    graphs: Sequence[WeightGraph]


@dataclass(frozen=True)
class Hub:
    """Runs with their outcome.

    Attributes:
        name: of the hub.
        runs: ids (n,).
        task: number of each run's task (n,).
        candidate: number of each run's candidate (n,).
        candidates: each run's candidate by name (n,).
        pixels: height and width of the images.
        final: validation score after the last epoch (n,).
        views: by epoch.
        raw: weights by ``RUN/EPOCH/NAME`` where they were kept.
    """

    name: str
    runs: tuple[str, ...]
    task: NDArray[np.int64]
    candidate: NDArray[np.int64]
    candidates: tuple[str, ...]
    pixels: int
    final: Array
    views: Mapping[int, View]
    raw: Tensors

    @property
    def fingerprint(self) -> str:
        """First 12 hexadecimal digits of the sha256 of the runs."""
        return hashlib.sha256("".join(self.runs).encode()).hexdigest()[:12]

    @property
    def tasks(self) -> Array:
        """One-hot of the tasks, (n, tasks)."""
        return np.eye(self.task.max() + 1)[self.task]


def load_hub(folder: Path, most: int | None = None) -> Hub:
    """Read a hub's shards; runs without a score after their last epoch are left out.

    Args:
        folder: of the shards.
        most: takes the first so many runs.
    """
    corpus = read_corpus(folder)
    warn(corpus)
    rows = corpus.rows
    finished = rows[(rows.epoch == rows.horizon) & rows.validation_score.notna()]
    finished = finished if most is None else finished.head(most)
    rows = rows[rows.run.isin(finished.run)].set_index(["run", "epoch"])
    sketched = corpus.graphs
    small = bool((finished.candidate == CANDIDATE).all())
    runs = tuple(finished.run)
    raw, kept = corpus.tensors("raw"), corpus.tensors("plain")
    views: dict[int, View] = {}
    none = np.zeros((len(runs), 0))
    for epoch in EPOCHS:
        if all(f"{run}/{epoch}" in sketched for run in runs):
            graphs = [sketched[f"{run}/{epoch}"] for run in runs]
            plain = _plain_small(raw, runs, epoch) if small else _plain_mixed(kept, runs, epoch, graphs)
            views[epoch] = View(
                blocks={
                    "metadata": none if small else _metadata(finished, graphs),
                    "hyperparameters": _hyperparameters(finished, small),
                    "curve": np.array([_curve(rows.loc[run], epoch) for run in runs]),
                    "plain": _varying(plain),
                    "L1": _varying(_concatenated(graphs, _WEIGHTS) if small else _pooled(graphs, False)),
                    "L4": _varying(_concatenated(graphs, _ANSWERS) if small else _pooled(graphs, True)),
                    "plain pooled": _plain_pooled(raw, runs, epoch, graphs) if small else none,
                    "L1 pooled": _varying(_pooled(graphs, False)) if small else none,
                    "L4 pooled": _varying(_pooled(graphs, True)) if small else none,
                },
                graphs=graphs,
            )
    return Hub(
        name="small-cnn" if small else "mixed",
        runs=runs,
        task=pd.factorize(finished.task, sort=True)[0].astype(np.int64),
        candidate=pd.factorize(finished.candidate, sort=True)[0].astype(np.int64),
        candidates=tuple(finished.candidate),
        pixels=max((task.image_size or PIXELS for task in read_table(folder, TaskRow)), default=PIXELS),
        final=finished.validation_score.to_numpy(np.float64),
        views=views,
        raw=raw,
    )


def _metadata(finished: pd.DataFrame, graphs: Sequence[WeightGraph]) -> Array:
    """Which candidate it is, and its architecture in numbers."""
    candidates = pd.get_dummies(finished.candidate).to_numpy(np.float64)
    architecture = [i for i, name in enumerate(POOLED) if name.startswith("global_")]
    return np.hstack([candidates, np.array([graph.pooled()[architecture] for graph in graphs])])


def _hyperparameters(finished: pd.DataFrame, small: bool) -> Array:
    values: list[Mapping[str, Value]] = [json.loads(text) for text in finished.hyperparameters]
    if not small:
        return Space().encode(values)
    return np.array([_encode_small(v) for v in values])


def _encode_small(values: Mapping[str, Value]) -> list[float]:
    logs = ("initial_scale", "learning_rate", "weight_decay", "batch_size", "train_fraction")
    return [
        *(float(np.log10(float(values[name]))) for name in logs),
        float(values["dropout"]),
        float(values["activation"] == "relu"),
        *(float(values["optimiser"] == name) for name in ("sgd", "adam", "rmsprop")),
        *(float(values["initialisation"] == name) for name in INITIALISATIONS),
    ]


def _curve(run: pd.DataFrame, epoch: int) -> list[float]:
    """As `fms_hub.search.encoding`: last, best and first score, last gain, training loss x / (1 + x)."""
    scores = run.validation_score.loc[1:epoch].tolist()
    loss = float(run.train_loss.loc[epoch])
    gain = scores[-1] - scores[-2] if len(scores) > 1 else 0.0
    return [scores[-1], max(scores), scores[0], gain, loss / (1 + loss)]


def _plain_small(raw: Tensors, runs: Sequence[str], epoch: int) -> Array:
    names = sorted({key.split("/", 2)[2] for key in raw})
    return np.array(
        [
            np.concatenate(
                [statistics(torch.from_numpy(raw[f"{run}/{epoch}/{name}"]).float()) for name in names]
            )
            for run in runs
        ]
    )


def _plain_pooled(raw: Tensors, runs: Sequence[str], epoch: int, graphs: Sequence[WeightGraph]) -> Array:
    names = {key.split("/", 2)[2] for key in raw}
    rows = []
    for run, graph in zip(runs, graphs, strict=True):
        state = {name: torch.from_numpy(raw[f"{run}/{epoch}/{name}"]).float() for name in names}
        rows.append(pool_nodes(graph.structure, plain_statistics(graph.structure, state).astype(np.float64)))
    return _varying(np.array(rows))


def _plain_mixed(plain: Tensors, runs: Sequence[str], epoch: int, graphs: Sequence[WeightGraph]) -> Array:
    return np.array(
        [
            pool_nodes(graph.structure, plain[f"{run}/{epoch}"].astype(np.float64))
            for run, graph in zip(runs, graphs, strict=True)
        ]
    )


def pool_nodes(structure: Structure, table: Array) -> Array:
    """Features of the nodes of a network of any architecture, pooled as `WeightGraph.pooled` pools.

    Args:
        structure: its nodes.
        table: (nodes, width).

    Returns:
        (8 * width,): mean and deviation over matrix nodes weighted by their parameters, plain
        means over thirds of depth, the head, mean and deviation over norm nodes.
    """
    matrices = [i for i, node in enumerate(structure.nodes) if node.matrix is not None]
    sizes = np.array([structure.nodes[i].parameters for i in matrices], dtype=np.float64)
    depth = np.array([structure.nodes[i].depth for i in matrices])
    whole, share = table[matrices], sizes / sizes.sum()
    mean = share @ whole
    third = np.minimum((depth * 3).astype(int), 2)
    norms = table[[i for i, node in enumerate(structure.nodes) if node.kind == "norm"]]
    parts = [
        mean,
        np.sqrt(share @ (whole - mean) ** 2),
        *(_mean(whole[third == part]) for part in range(3)),
        np.zeros(table.shape[1]) if structure.head is None else table[structure.head],
        _mean(norms),
        norms.std(0) if len(norms) else np.zeros(table.shape[1]),
    ]
    return np.concatenate(parts)


def _mean(rows: Array) -> Array:
    mean: Array = rows.mean(0) if len(rows) else np.zeros(rows.shape[1])
    return mean


def _concatenated(graphs: Sequence[WeightGraph], columns: slice) -> Array:
    return np.array([graph.sketch[:, columns].ravel() for graph in graphs], dtype=np.float64)


def _pooled(graphs: Sequence[WeightGraph], answers: bool) -> Array:
    chosen = [
        i for i, name in enumerate(POOLED) if name.partition("_")[2].startswith(RESPONSE_FEATURES) == answers
    ]
    return np.array([graph.pooled()[chosen] for graph in graphs])


def _varying(block: Array) -> Array:
    """Without the columns that are the same for every run."""
    return np.nan_to_num(block[:, block.std(0) > 0], posinf=6e4, neginf=-6e4)
