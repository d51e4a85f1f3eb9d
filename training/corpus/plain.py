"""Plain statistics per layer, the baseline that sketches are compared with.

Source: T. Unterthiner et al., "Predicting Neural Network Accuracy from Weights" (2020), section 3: mean,
variance and the quantiles 0, 25, 50, 75 and 100 % of the weights and of the biases of every layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.weights.structure import Structure

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
STATISTICS = ("mean", "variance", *(f"q{int(100 * q)}" for q in QUANTILES))
PLAIN = tuple(f"{role}_{name}" for role in ("weight", "bias") for name in STATISTICS)


def plain_statistics(structure: Structure, state: Mapping[str, Tensor]) -> NDArray[np.float32]:
    """Describe every node: (nodes, len(PLAIN)), zeros where a node has no such tensor.

    A matrix or, where there is none, a scale counts as a node's weight.
    """
    table = np.zeros((len(structure.nodes), len(PLAIN)), np.float32)
    for row, node in zip(table, structure.nodes, strict=True):
        roles = {tensor.role: tensor.name for tensor in reversed(node.tensors)}
        weight, bias = roles.get("matrix", roles.get("scale")), roles.get("bias")
        if weight is not None:
            row[: len(STATISTICS)] = statistics(state[weight])
        if bias is not None:
            row[len(STATISTICS) :] = statistics(state[bias])
    return table


def statistics(tensor: Tensor) -> NDArray[np.float64]:
    """Mean, variance and quantiles of all entries: (len(STATISTICS),)."""
    values = tensor.detach().cpu().double().numpy().ravel()
    return np.array([values.mean(), values.var(), *np.quantile(values, QUANTILES)])
