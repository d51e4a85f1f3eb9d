"""From the nodes of a weight graph to one vector of fixed length, without parameters."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fms_hub.weights.columns import FEATURES
from fms_hub.weights.responses import LOGIT_FEATURES, RESPONSE_FEATURES
from fms_hub.weights.sketch import Sketch
from fms_hub.weights.structure import Kind, Structure

Vector = NDArray[np.float64]

_KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    "conv": ("conv",),
    "linear": ("linear",),
    "norm": ("norm",),
    "other": ("embedding", "scale", "shift", "direct"),
    "add": ("add",),
    "mul": ("mul",),
    "matmul": ("matmul",),
    "cat": ("cat",),
    "mix": ("mix",),
}
_GLOBAL: Final = (
    "log_parameters",
    "log_nodes",
    "log_matrices",
    "log_longest_path",
    "edges_per_node",
    "log_mean_width",
    "log_max_width",
    "grouped_parameters",
    "kernel_parameters",
    "covered",
    *(f"nodes_{name}" for name in _KINDS),
)
_WHOLE: Final = (
    "log_gain",
    "mean",
    "skew",
    "log_kurtosis",
    "cdf_0.1",
    "row_q0",
    "row_q100",
    "row_coherence",
    "column_q0",
    "column_q100",
    "column_coherence",
    "tap_constant",
    "tap_linear",
    "log_sigma",
    "log_spectral",
    "log_stable_rank",
    "krylov_0",
    "krylov_1",
)
_THIRDS: Final = (
    "log_gain",
    "log_kurtosis",
    "row_q100",
    "tap_constant",
    "log_sigma",
    "log_stable_rank",
    "bias_q0",
    "bias_q50",
    "bias_q100",
    "out_log_rms",
    "out_on",
    "out_never_on",
    "out_log_rank",
    "out_varying",
)
_HEAD: Final = (
    "log_gain",
    "log_kurtosis",
    "row_q0",
    "row_q50",
    "row_q100",
    "column_q50",
    "row_coherence",
    "log_sigma",
    "log_spectral",
    "log_stable_rank",
    "bias_log_rms",
    "bias_q0",
    "bias_q100",
    *RESPONSE_FEATURES,
)
_NORMS: Final = (
    "scale_q0",
    "scale_q50",
    "scale_q100",
    "bias_q0",
    "bias_q50",
    "bias_q100",
    "running_log_shift",
    "running_log_var_mean",
    "running_fold_mean",
)
_PARTS: Final = ("early", "middle", "late")
"""Thirds of depth."""

POOLED: Final[tuple[str, ...]] = (
    *(f"global_{name}" for name in _GLOBAL),
    *(f"mean_{name}" for name in _WHOLE),
    *(f"std_{name}" for name in _WHOLE),
    *(f"{part}_{name}" for part in _PARTS for name in _THIRDS),
    *(f"head_{name}" for name in _HEAD),
    *(f"norm_{name}" for name in _NORMS),
    *(f"output_{name}" for name in LOGIT_FEATURES),
)
"""Names of what `pool` returns: the architecture, mean and standard deviation of matrix nodes weighted by
their parameters, plain means over thirds of depth, the head alone, plain means over norm nodes,
and the answers of the whole network."""


def pool(structure: Structure, sketch: Sketch) -> Vector:
    """Summarise a network.

    Args:
        structure: its nodes and edges.
        sketch: (nodes, len(FEATURES)), finite.

    Returns:
        (len(POOLED),), finite; parts that a network does not have are zeros.
    """
    table = sketch.astype(np.float64)
    matrices = np.array(
        [i for i, node in enumerate(structure.nodes) if node.matrix is not None], dtype=np.intp
    )
    sizes = np.array([structure.nodes[i].parameters for i in matrices], dtype=np.float64)
    depths = np.array([structure.nodes[i].depth for i in matrices], dtype=np.float64)
    whole, thirds = table[matrices][:, _columns(_WHOLE)], table[matrices][:, _columns(_THIRDS)]
    mean = _mean(whole, sizes)
    parts = np.minimum((depths * len(_PARTS)).astype(int), len(_PARTS) - 1)
    norms = [i for i, node in enumerate(structure.nodes) if node.kind == "norm"]
    head = np.zeros(len(_HEAD)) if structure.head is None else table[structure.head, _columns(_HEAD)]
    return np.concatenate(
        [
            _global(structure, sizes, matrices),
            mean,
            np.sqrt(_mean((whole - mean) ** 2, sizes)),
            *(_mean(thirds, (parts == part).astype(np.float64)) for part in range(len(_PARTS))),
            head,
            _mean(table[norms][:, _columns(_NORMS)], np.ones(len(norms))),
            table[-1, _columns(LOGIT_FEATURES)],
        ]
    )


def _columns(names: tuple[str, ...]) -> list[int]:
    return [FEATURES.index(name) for name in names]


def _mean(rows: Vector, weights: Vector) -> Vector:
    """Weighted mean over rows (N, F); zeros where no weight is."""
    total = float(weights.sum())
    mean: Vector = weights @ rows / (total if total > 0 else 1.0)
    return mean


def _global(structure: Structure, sizes: Vector, matrices: NDArray[np.intp]) -> Vector:
    nodes = [structure.nodes[i] for i in matrices]
    widths = np.array([node.fan_out for node in nodes] or [1], dtype=np.float64)
    grouped = sum(node.parameters for node in nodes if node.groups > 1)
    kernels = sum(node.parameters for node in nodes if node.taps > 1)
    total = max(float(sizes.sum()), 1.0)
    counts = [sum(node.kind in kinds for node in structure.nodes) for kinds in _KINDS.values()]
    values = [
        math.log(max(structure.parameters, 1)),
        math.log(len(structure.nodes)),
        math.log1p(len(nodes)),
        math.log1p(_longest_path(structure)),
        len(structure.edges) / len(structure.nodes),
        float(np.log(np.maximum(widths, 1)).mean()),
        math.log(max(widths.max(), 1)),
        grouped / total,
        kernels / total,
        structure.covered / max(structure.parameters, 1),
        *(count / len(structure.nodes) for count in counts),
    ]
    return np.array(values)


def _longest_path(structure: Structure) -> int:
    """Edges from input to output on the longest path, read off the relative depths."""
    steps = {node.depth for node in structure.nodes}
    return len(steps) - 1
