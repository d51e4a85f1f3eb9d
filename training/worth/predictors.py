"""Predict final scores from blocks of features: extra trees, and the surrogate's Gaussian process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.surrogate import Surrogate
from training.worth.hub import Hub, View

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
TREES = 100


def extra_trees(hub: Hub, view: View, blocks: Sequence[str], train: Rows, held: Rows, seed: int) -> Array:
    """Fit on some runs, predict others; the task is always known."""
    x = np.hstack([hub.tasks, *(view.blocks[name] for name in blocks)])
    forest = ExtraTreesRegressor(TREES, max_features=1 / 3, min_samples_leaf=2, random_state=seed)
    predicted: Array = forest.fit(x[train], hub.final[train]).predict(x[held])
    return predicted


def gaussian_process(
    hub: Hub, view: View, blocks: Sequence[str], train: Rows, held: Rows, seed: int
) -> Array:
    """The same with `fms_hub.surrogate`; metadata are the candidate's number and join the task's group."""
    inputs = _inputs(hub, view.blocks, blocks)
    fitted = Surrogate().fit(inputs.rows(train.astype(np.int64)), hub.final[train])
    return fitted.posterior(inputs.rows(held.astype(np.int64))).mean


def _inputs(hub: Hub, known: Mapping[str, Array], blocks: Sequence[str]) -> Inputs:
    n = len(hub.runs)
    weights = [
        known[name]
        for name in ("plain", "plain pooled", "L1", "L1 pooled", "L2", "L4", "L4 pooled")
        if name in blocks
    ]
    metadata = [known["metadata"]] if "metadata" in blocks else []
    return Inputs(
        hyperparameters=_unit(known["hyperparameters"]) if "hyperparameters" in blocks else _absent(n),
        fidelity=_absent(n),
        curve=known["curve"] if "curve" in blocks else _absent(n),
        weights=np.hstack(weights) if weights else _absent(n),
        start=_absent(n),
        task=np.hstack([hub.tasks, *metadata]),
        embedding=_absent(n),
        metadata=_absent(n),
        probes=_absent(n),
        candidate=hub.candidate if metadata else np.full(n, -1),
    )


def _unit(block: Array) -> Array:
    """To [0, 1] over the hub."""
    low, high = block.min(0), block.max(0)
    unit: Array = (block - low) / np.where(high > low, high - low, 1.0)
    return unit


def _absent(n: int) -> Array:
    return np.full((n, 1), np.nan)
