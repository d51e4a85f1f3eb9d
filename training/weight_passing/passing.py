"""Frozen message passing between the neurons of a network, as products with its weight matrices (L2).

Source of the form: graph metanetworks (D. Lim et al., "Graph Metanetworks for Processing Diverse Neural
Architectures", 2024), with mixing matrices drawn once and never trained, and no edge materialised.
d = width of the neurons' states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.weights.sketch import check_state
from fms_hub.weights.structure import Role, Structure
from training.weight_passing.axes import AxisClasses
from training.weight_passing.incidence import Block, Key, Link, Vector, families, links, vectors

WIDTH: Final = 8
ROUNDS: Final = 2
_SMALL: Final = 2**19
"""Most entries of a weight matrix whose forms are kept."""
_SEED: Final = 20_260
_ROLES: Final[tuple[Role, ...]] = ("scale", "bias", "mean", "var", "matrix")
_START: Final = 1 + 2 * len(_ROLES)
"""Starting features of a neuron: one, then mean and root mean square of what it owns of each role."""
L2: Final[tuple[str, ...]] = tuple(
    f"{reading}_{i}"
    for reading in ("rows_mean", "rows_std", "columns_mean", "columns_std", "coupling")
    for i in range(WIDTH)
)
"""Columns of `l2`."""


@dataclass(frozen=True)
class Wiring:
    """Everything about a network that does not depend on its weights; made once per architecture."""

    structure: Structure
    classes: AxisClasses

    @cached_property
    def links(self) -> tuple[Link, ...]:
        """Weight matrices."""
        return links(self.structure, self.classes)

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """Everything else that neurons own."""
        return vectors(self.structure, self.classes)

    @cached_property
    def families(self) -> Mapping[Key, int]:
        """Number of neurons of every family."""
        return families(self.links, self.vectors)


def l2(wiring: Wiring, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """Describe every weight matrix by the states of the neurons on both of its sides.

    Args:
        wiring: of the network.
        state: tensors by name, on one device; float64 if one is, else float32.

    Returns:
        (nodes, len(L2)), zeros where a node has no matrix; the same for every numbering of neurons.

    Raises:
        CheckpointError: a tensor is missing or has another shape.
    """
    check_state(wiring.structure, state)
    wide = any(state[owned.name].dtype == torch.float64 for owned in wiring.structure.tensors)
    dtype = torch.float64 if wide else torch.float32
    device = next((state[owned.name].device for owned in wiring.structure.tensors), torch.device("cpu"))
    table = torch.zeros(len(wiring.structure.nodes), len(L2), dtype=dtype, device=device)
    with torch.no_grad():
        mixing = _Mixing.drawn(dtype, device)
        states = {key: _bounded(x @ mixing.start) for key, x in _start(wiring, state, dtype, device).items()}
        forms = _Forms(state, dtype)
        for step in range(ROUNDS):
            states = _round(wiring, forms, states, mixing, step)
        for link in wiring.links:
            table[link.node] = _reading(link, forms.of(link)[1], states)
    return table.cpu().to(torch.float64).numpy()


@dataclass(frozen=True)
class _Mixing:
    """Frozen matrices: start (_START, d), own (ROUNDS, d, d), sent (ROUNDS, 2 directions, 3, d, d)."""

    start: Tensor
    own: Tensor
    sent: Tensor

    @classmethod
    def drawn(cls, dtype: torch.dtype, device: torch.device) -> _Mixing:
        generator = torch.Generator().manual_seed(_SEED)
        shapes = ((_START, WIDTH), (ROUNDS, WIDTH, WIDTH), (ROUNDS, 2, 3, WIDTH, WIDTH))
        drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
        return cls(*((matrix / matrix.shape[-2] ** 0.5).to(device, dtype) for matrix in drawn))


def _start(
    wiring: Wiring, state: Mapping[str, Tensor], dtype: torch.dtype, device: torch.device
) -> dict[Key, Tensor]:
    first = {key: torch.zeros(n, _START, dtype=dtype, device=device) for key, n in wiring.families.items()}
    for features in first.values():
        features[:, 0] = 1.0
    for vector in wiring.vectors:
        tensor = state[vector.name].to(dtype).movedim(vector.dimension, 0)
        rows = tensor.reshape(len(tensor), -1)
        place = 1 + 2 * _ROLES.index(vector.role)
        told = torch.stack([rows.mean(1), rows.square().mean(1).sqrt()], 1)
        for block in vector.blocks:
            if block.key:
                first[block.key][:, place : place + 2] += _collected(block, told)
    return first


def _round(
    wiring: Wiring, weights: _Forms, states: Mapping[Key, Tensor], mixing: _Mixing, step: int
) -> dict[Key, Tensor]:
    received = {key: x @ mixing.own[step] for key, x in states.items()}
    heard = dict.fromkeys(states, 1)
    for link in wiring.links:
        forms = weights.of(link)
        ahead = _sent(forms, _gathered(link.columns, states), mixing.sent[step, 0])
        back = _sent([f.transpose(1, 2) for f in forms], _gathered(link.rows, states), mixing.sent[step, 1])
        for side, message in ((link.rows, ahead), (link.columns, back)):
            for block in side:
                if block.key:
                    received[block.key] += _collected(block, message)
                    heard[block.key] += 1
    return {key: _bounded(x / heard[key] ** 0.5) for key, x in received.items()}


class _Forms:
    """Forms of weight matrices; those of small ones are kept from one round to the next."""

    def __init__(self, state: Mapping[str, Tensor], dtype: torch.dtype) -> None:
        self._state = state
        self._dtype = dtype
        self._kept: dict[str, list[Tensor]] = {}

    def of(self, link: Link) -> list[Tensor]:
        """Each (groups, outputs, inputs): see `_forms`."""
        if link.name not in self._kept:
            tensor = self._state[link.name].to(self._dtype)
            forms = _forms(link, tensor)
            if tensor.numel() > _SMALL:
                return forms
            self._kept[link.name] = forms
        return self._kept[link.name]


def _forms(link: Link, tensor: Tensor) -> list[Tensor]:
    """Sum over taps of w, abs w and w * w: each (groups, outputs, inputs)."""
    view = link.view(tensor)
    if view.shape[-1] == 1:
        flat = view[..., 0]
        return [flat, flat.abs(), flat.square()]
    return [view.sum(-1), view.abs().sum(-1), view.square().sum(-1)]


def _sent(forms: Sequence[Tensor], states: Tensor, mixing: Tensor) -> Tensor:
    """Messages (groups * receivers, d); entries of order 1 / sqrt(senders) give messages of order 1."""
    groups, receivers, senders = forms[0].shape
    total = torch.zeros(groups * receivers, WIDTH, dtype=states.dtype, device=states.device)
    for form, matrix, scale in zip(forms, mixing, (1.0, senders**-0.5, 1.0), strict=True):
        mixed = (states @ matrix).reshape(groups, senders, WIDTH)
        # One weight a group (depthwise): a batch of products of 1 x 1 matrices is slow.
        met = form * mixed if receivers == senders == 1 else torch.bmm(form, mixed)
        total += met.reshape(-1, WIDTH) * scale
    return total


def _gathered(side: Sequence[Block], states: Mapping[Key, Tensor]) -> Tensor:
    """States of the neurons along an axis; ordered positions have that of their kind."""
    first = states[side[0].key]
    result = first.new_zeros(sum(len(block.at) for block in side), WIDTH)
    for block in side:
        result[block.at.to(first.device)] = states[block.key][block.neuron.to(first.device)]
    return result


def _collected(block: Block, rows: Tensor) -> Tensor:
    """Sum over the positions of each neuron: (neurons, columns of rows)."""
    result = rows.new_zeros(block.count, rows.shape[1])
    return result.index_add(0, block.neuron.to(rows.device), rows[block.at.to(rows.device)])


def _bounded(x: Tensor) -> Tensor:
    """Sign and logarithm: keeps the scale of the weights and stays finite."""
    return x.sign() * x.abs().log1p()


def _reading(link: Link, plain: Tensor, states: Mapping[Key, Tensor]) -> Tensor:
    rows, columns = _gathered(link.rows, states), _gathered(link.columns, states)
    groups, _, senders = plain.shape
    met = torch.bmm(plain, columns.reshape(groups, senders, WIDTH)).reshape(-1, WIDTH) * senders**-0.5
    parts = [rows.mean(0), rows.std(0, correction=0), columns.mean(0), columns.std(0, correction=0)]
    return torch.cat([*parts, (rows * met).mean(0)])


def pooled_l2(wiring: Wiring, state: Mapping[str, Tensor]) -> NDArray[np.float64]:
    """The whole network in one vector of fixed length: (6 * len(L2),), finite.

    Mean and deviation over matrices weighted by their parameters, plain means over thirds of depth,
    the head.
    """
    table = l2(wiring, state)
    nodes = [wiring.structure.nodes[link.node] for link in wiring.links]
    whole = table[[link.node for link in wiring.links]]
    size = np.array([node.parameters for node in nodes], dtype=np.float64)
    share, third = size / size.sum(), np.minimum([int(3 * node.depth) for node in nodes], 2)
    mean = share @ whole
    head = wiring.structure.head
    parts = [
        mean,
        np.sqrt(share @ (whole - mean) ** 2),
        *(whole[third == part].mean(0) if (third == part).any() else 0 * mean for part in range(3)),
        0 * mean if head is None else table[head],
    ]
    return np.concatenate(parts)
