"""L2 as one more block of features: frozen message passing over the weights that a hub kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fms_hub.models.zoo import build
from fms_hub.weights.structure import Structure
from training.corpus.candidates import resolve
from training.corpus.small_net import CANDIDATE, PIXELS, SmallCNN
from training.weight_passing.infer import infer_axes
from training.weight_passing.passing import Wiring, l2
from training.worth.hub import Hub, View, pool_nodes

Array = NDArray[np.float64]


def with_l2(hub: Hub) -> Hub:
    """The hub with a block ``L2`` in every view, as ``L1`` is: end to end where all runs are of one
    architecture, else pooled; a hub of which some run's weights were not kept stays as it is.
    """
    checkpoints = _by_checkpoint(hub)
    if any(f"{run}/{epoch}" not in checkpoints for run in hub.runs for epoch in hub.views):
        return hub
    wirings: dict[tuple[str, int], Wiring] = {}
    return replace(
        hub,
        views={
            epoch: replace(view, blocks={**view.blocks, "L2": _block(hub, epoch, view, checkpoints, wirings)})
            for epoch, view in hub.views.items()
        },
    )


def _block(
    hub: Hub,
    epoch: int,
    view: View,
    checkpoints: Mapping[str, Mapping[str, str]],
    wirings: dict[tuple[str, int], Wiring],
) -> Array:
    rows = []
    for run, candidate, graph in zip(hub.runs, hub.candidates, view.graphs, strict=True):
        names = checkpoints[f"{run}/{epoch}"]
        state = {name: torch.from_numpy(hub.raw[key]).double() for name, key in names.items()}
        wiring = _wiring(candidate, graph.structure, hub.pixels, wirings)
        table = l2(wiring, state)
        one = candidate == CANDIDATE
        rows.append(
            table[[link.node for link in wiring.links]].ravel() if one else pool_nodes(graph.structure, table)
        )
    return np.array(rows)


def _wiring(
    candidate: str, structure: Structure, pixels: int, known: dict[tuple[str, int], Wiring]
) -> Wiring:
    head = structure.head
    if head is None:
        raise ValueError(f"the network of {candidate} has no head")
    key = (candidate, structure.nodes[head].fan_out)
    if key not in known:
        known[key] = Wiring(structure, infer_axes(*_network(*key, pixels)))
    return known[key]


def _network(candidate: str, classes: int, pixels: int) -> tuple[nn.Module, tuple[int, int, int]]:
    if candidate == CANDIDATE:
        return SmallCNN(classes), (1, PIXELS, PIXELS)
    model = build(resolve(candidate), classes=classes, image_size=pixels, weights=False)
    return model.module, (len(model.input.mean), model.input.size, model.input.size)


def _by_checkpoint(hub: Hub) -> dict[str, dict[str, str]]:
    """Keys of the kept weights by tensor name, by ``RUN/EPOCH``."""
    found: dict[str, dict[str, str]] = {}
    for key in hub.raw:
        run, epoch, name = key.split("/", 2)
        found.setdefault(f"{run}/{epoch}", {})[name] = key
    return found
