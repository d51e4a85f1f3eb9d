"""From input groups to the kernel's columns: robust scaling, zeros and presence bits for absent groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.kernel import Group

CLIP = 3.0


@dataclass(frozen=True)
class Scaling:
    """Centre and spread of the groups whose units are arbitrary.

    Attributes:
        weights_centre, weights_spread: (W,).
        task_centre, task_spread: (T,).
    """

    weights_centre: NDArray[np.float64]
    weights_spread: NDArray[np.float64]
    task_centre: NDArray[np.float64]
    task_spread: NDArray[np.float64]

    @classmethod
    def of(cls, inputs: Inputs) -> Scaling:
        """Median and interquartile range (as a standard deviation) over the rows that have the group."""
        return cls(*_robust(inputs.weights), *_robust(inputs.task))

    def scale_weights(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weights (n, W) in units of their spread, clipped."""
        return _scale(weights, self.weights_centre, self.weights_spread)

    def groups(self, inputs: Inputs) -> tuple[Group, ...]:
        """The kernel's groups for inputs of these widths."""
        return (
            Group("hyperparameters", inputs.hyperparameters.shape[1]),
            Group("fidelity", inputs.fidelity.shape[1]),
            Group("curve", inputs.curve.shape[1], linear=True),
            Group("weights", inputs.weights.shape[1]),
            Group("task", inputs.task.shape[1]),
            Group("candidate", 1, categorical=True),
        )

    def columns(self, inputs: Inputs) -> Tensor:
        """The kernel's input, (n, sum of (width + 1)), float64: values, then the presence bit, per group."""
        candidate = inputs.candidate.astype(np.float64)[:, None]
        blocks = (
            inputs.hyperparameters,
            inputs.fidelity,
            inputs.curve,
            self.scale_weights(inputs.weights),
            _scale(inputs.task, self.task_centre, self.task_spread),
            np.where(candidate < 0, np.nan, candidate),
        )
        return torch.from_numpy(np.hstack([with_presence(block) for block in blocks]))


def _robust(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    present = rows[~np.isnan(rows).any(axis=1)]
    if len(present) == 0:
        return np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    low, centre, high = np.quantile(present, [0.25, 0.5, 0.75], axis=0)
    spread = (high - low) / 1.349
    # A column that hardly moves would be blown up by its own small spread.
    spread = np.where(spread > 1e-6, spread, np.maximum(present.std(axis=0), 1e-3))
    return centre, spread


def _scale(
    rows: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.clip((rows - centre) / spread, -CLIP, CLIP)


def with_presence(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (n, width) with zeros where a row has NaN, and a last column that says whether it has none."""
    present = ~np.isnan(block).any(axis=1, keepdims=True)
    return np.hstack([np.where(present, block, 0.0), present.astype(np.float64)])
