"""What meta-training found, the same for every search, and how a search's inputs are brought to it.

n = rows, H = encoded hyperparameters of the search, D = columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.surrogate.encoder import LATENT, Encoder
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.process import Form
from fms_hub.surrogate.scaling import Scaling

UNKNOWN = "unknown"
"""The group of hyperparameters that meta-training never saw."""


@dataclass(frozen=True)
class Rows:
    """Inputs as the process sees them: x (n, D), and the prior mean of each row's score (n,)."""

    x: Tensor
    mean: Tensor


@dataclass(frozen=True)
class Range:
    """What meta-training has seen of some columns of the weights: numbers of the architecture.

    Attributes:
        columns: their numbers.
        low, high: (len(columns),), smallest and largest value seen.
    """

    columns: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, weights: NDArray[np.float64], columns: Sequence[int]) -> Range:
        """Over the rows (n, W) that have weights.

        Raises:
            ValueError: no row has.
        """
        seen = weights[~np.isnan(weights).any(axis=1)][:, list(columns)]
        return cls(tuple(columns), seen.min(axis=0), seen.max(axis=0))

    def excess(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """How far each row lies outside, (n,): 0 within, 1 as far beyond an end as the ends are apart.

        The largest over the columns; ends closer than 1 count as 1 apart. Rows without weights are within.
        """
        chosen = weights[:, list(self.columns)]
        beyond = np.maximum(self.low - chosen, chosen - self.high) / np.maximum(self.high - self.low, 1.0)
        found: NDArray[np.float64] = np.nan_to_num(beyond, nan=0.0).max(axis=1, initial=0.0)
        return found


@dataclass(frozen=True)
class Learned:
    """The outcome of meta-training. Scores are in fixed units: 0 is guessing, 1 is perfect.

    Attributes:
        hyperparameters: names of the encoded columns it knows, in order.
        scaling: of the inputs.
        groups: of the columns that the encoder reads.
        encoder: frozen, float64, in evaluation mode.
        parameters: of the process, by name.
        range: of the architectures it has seen.
    """

    hyperparameters: tuple[str, ...]
    scaling: Scaling
    groups: tuple[Group, ...]
    encoder: Encoder
    parameters: Mapping[str, Tensor]
    range: Range

    def form(self, inputs: Inputs) -> Form:
        """The process for inputs of these widths."""
        extra = inputs.hyperparameters.shape[1] - len(self.hyperparameters)
        latent = Group(LATENT, self.encoder.latent, linear=True)
        unknown = (Group(UNKNOWN, extra),) if extra > 0 else ()
        return Form((*self.groups, latent, *unknown), offset=True, learned=self.parameters)

    def stretch(self, inputs: Inputs) -> NDArray[np.float64]:
        """Factor on the deviation of each row's prediction, (n,), >= 1: it grows with `Range.excess`."""
        weights = _widened("weights", inputs.weights, self.scaling.widths["weights"])
        return 1.0 + self.range.excess(weights)

    def rows(self, inputs: Inputs) -> Rows:
        """Scale and encode inputs.

        Raises:
            ValueError: a group that is there has another width than in meta-training.
        """
        known = len(self.hyperparameters)
        seen = replace(
            inputs,
            hyperparameters=inputs.hyperparameters[:, :known],
            weights=_widened("weights", inputs.weights, self.scaling.widths["weights"]),
            task=_widened("task", inputs.task, self.scaling.widths["task"]),
        )
        columns = self.scaling.columns(seen)
        with torch.no_grad():
            encoded = self.encoder(columns)
        present = torch.ones(len(columns), 1, dtype=columns.dtype)
        blocks = [columns, encoded.latent, present]
        unknown = torch.from_numpy(inputs.hyperparameters[:, known:])
        if unknown.shape[1]:
            blocks += [unknown, present]
        return Rows(torch.cat(blocks, dim=1), encoded.mean)


def _widened(name: str, block: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    if block.shape[1] == width:
        return block
    if not np.isnan(block).any(axis=1).all():
        raise ValueError(
            f"the surrogate was trained with {width} {name} features, this search has {block.shape[1]}."
        )
    return np.full((len(block), width), np.nan)
