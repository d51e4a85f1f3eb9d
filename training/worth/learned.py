"""Predict final scores with encoders learned end to end on the hub's own training runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch

from fms_hub.seeding import seeded
from training.worth.encoder import GraphEncoder, scales
from training.worth.hub import Hub
from training.worth.metanetwork import Metanetwork
from training.worth.stack import Stack

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
PASSES = 25
BATCH = 64
LEARNING_RATE = 3e-3
_OUTPUTS = 32


@dataclass(frozen=True)
class Source:
    """What an encoder reads.

    Attributes:
        encoder: a new one, given the training runs.
        read: the encoder's input for some runs of one task after one epoch.
    """

    encoder: Callable[[Rows], nn.Module]
    read: Callable[[int, Rows], object]


def graph_source(hub: Hub) -> Source:
    """L3: a `GraphEncoder` over weight graphs."""
    data = {epoch: [graph.to_data() for graph in view.graphs] for epoch, view in hub.views.items()}
    return Source(
        encoder=lambda train: GraphEncoder(
            *scales([graphs[i] for graphs in data.values() for i in train]), outputs=_OUTPUTS
        ),
        read=lambda epoch, rows: Batch.from_data_list([data[epoch][i] for i in rows]),
    )


def raw_source(hub: Hub) -> Source:
    """The graph metanetwork over raw weights, for a hub whose runs all kept them."""
    names = sorted({key.split("/", 2)[2] for key in hub.raw})

    def read(epoch: int, rows: Rows) -> Stack:
        return Stack.of([{name: hub.raw[f"{hub.runs[i]}/{epoch}/{name}"] for name in names} for i in rows])

    taps = read(next(iter(hub.views)), np.array([0])).taps
    return Source(encoder=lambda train: Metanetwork(taps, _OUTPUTS), read=read)


def fit_predict(hub: Hub, source: Source, train: Rows, held: Rows, seed: int) -> Mapping[int, Array]:
    """Train on some runs' checkpoints of all early epochs together, predict others: by epoch (held,)."""
    with seeded(seed):
        model = _Reader(source.encoder(train), hub.tasks.shape[1])
        steps = PASSES * len(list(_batches(hub, train, np.random.default_rng(0))))
        optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, steps)
        target = torch.from_numpy(_standardised(hub, train)).float()
        rng = np.random.default_rng(seed)
        for _ in range(PASSES):
            for epoch, rows in _batches(hub, train, rng):
                loss = F.smooth_l1_loss(model(source.read(epoch, rows), hub.tasks[rows], epoch), target[rows])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimiser.step()
                schedule.step()
        model.eval()
        return {epoch: _predict(hub, model, source, epoch, held) for epoch in hub.views}


class _Reader(nn.Module):
    """An encoder, and a small network from its embedding, the task and the epoch to a score."""

    def __init__(self, encoder: nn.Module, tasks: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.score = nn.Sequential(
            nn.SiLU(), nn.Linear(_OUTPUTS + tasks + 1, 32), nn.SiLU(), nn.Linear(32, 1)
        )

    def forward(self, inputs: object, tasks: Array, epoch: int) -> Tensor:
        known = torch.from_numpy(tasks).float()
        epochs = torch.full((len(known), 1), math.log2(epoch))
        scores: Tensor = self.score(torch.cat([self.encoder(inputs), known, epochs], 1))
        return scores.squeeze(1)


def _batches(hub: Hub, train: Rows, rng: np.random.Generator) -> Iterator[tuple[int, Rows]]:
    """(epoch, runs of one task), in random order."""
    found: list[tuple[int, Rows]] = []
    for epoch in hub.views:
        for task in np.unique(hub.task[train]):
            members = rng.permutation(train[hub.task[train] == task])
            found += [(epoch, part) for part in np.array_split(members, math.ceil(len(members) / BATCH))]
    yield from (found[i] for i in rng.permutation(len(found)))


def _predict(hub: Hub, model: _Reader, source: Source, epoch: int, held: Rows) -> Array:
    predicted = np.empty(len(held))
    with torch.no_grad():
        for task in np.unique(hub.task[held]):
            places = np.flatnonzero(hub.task[held] == task)
            rows = held[places]
            predicted[places] = model(source.read(epoch, rows), hub.tasks[rows], epoch).numpy()
    return predicted


def _standardised(hub: Hub, train: Sequence[int] | Rows) -> Array:
    """Final scores in units of their task's training runs."""
    scores = np.empty(len(hub.final))
    for task in np.unique(hub.task):
        known = hub.final[train][hub.task[train] == task]
        members = hub.task == task
        scores[members] = (hub.final[members] - known.mean()) / max(known.std(), 1e-3)
    return scores
