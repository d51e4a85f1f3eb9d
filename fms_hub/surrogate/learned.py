"""What meta-training found, the same for every search, and how a search's inputs are brought to it.

n = rows, H = encoded hyperparameters of the search, D = columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.surrogate.foresight import READ, doubted, foresee
from fms_hub.surrogate.forest import Forest
from fms_hub.surrogate.inputs import METADATA, PROBES, Inputs
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.process import Form
from fms_hub.surrogate.residual import FIDELITY
from fms_hub.surrogate.scaling import Scaling, with_presence
from fms_hub.weights.pooling import POOLED

UNKNOWN = "unknown"
"""The group of hyperparameters that meta-training never saw."""
Columns = NDArray[np.float64]


_ENDS = (0.2, 0.5)
"""Shares of the horizon up to which a run is early, and in the middle: see `ByStage`."""


@dataclass(frozen=True)
class Rows:
    """Inputs as the process sees them.

    Attributes:
        x: (n, D).
        mean: of each row's score before the process has a say, (n,).
        deviation: what the process models is (score - mean) / deviation, (n,), > 0.
    """

    x: Tensor
    mean: Tensor
    deviation: Tensor


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

        The largest over the columns; ends closer than 1 count as 1 apart. What is NaN is within.
        """
        chosen = weights[:, list(self.columns)]
        beyond = np.maximum(self.low - chosen, chosen - self.high) / np.maximum(self.high - self.low, 1.0)
        found: NDArray[np.float64] = np.nan_to_num(beyond, nan=0.0).max(axis=1, initial=0.0)
        return found


@dataclass(frozen=True)
class ByStage:
    """A number for each stage that a run can be known at.

    Attributes:
        fresh: it has not begun.
        early: at most a fifth of its epochs is seen.
        middle: at most half of them.
        late: more.
    """

    fresh: float
    early: float
    middle: float
    late: float

    @classmethod
    def by_start(cls, fresh: float, begun: float) -> ByStage:
        """One number for all runs that have begun."""
        return cls(fresh, begun, begun, begun)

    @property
    def numbers(self) -> tuple[float, ...]:
        """All, in the order of `stages`."""
        return self.fresh, self.early, self.middle, self.late

    def of(self, inputs: Inputs) -> Columns:
        """That of each row, (n,)."""
        return np.array(self.numbers)[stages(inputs)]


def stages(inputs: Inputs) -> NDArray[np.int64]:
    """How much of each row's run is seen, (n,): the place among the numbers of `ByStage`."""
    seen = inputs.curve[:, 0]
    return np.where(has_begun(inputs), 1 + np.searchsorted(_ENDS, seen), 0)


def has_begun(inputs: Inputs) -> NDArray[np.bool_]:
    """Whether any epoch of each row's run is known, (n,)."""
    return ~np.isnan(inputs.curve[:, 0])


def standing(inputs: Inputs) -> Columns:
    """Where each row's candidate stands among the others by its probes, (n,); 0 where nobody probed."""
    return np.nan_to_num(inputs.probes[:, PROBES.index("standing")], nan=0.0)


@dataclass(frozen=True)
class Learned:
    """The outcome of meta-training. Scores are in fixed units: 0 is guessing, 1 is perfect.

    Attributes:
        hyperparameters: names of the encoded columns it knows, in order.
        widths: of the groups in `READ`, by name.
        scaling: of the weights.
        forest: what a score gains on the last one that was seen, or on 0 before there is any.
        doubt: how far off that typically is: the logarithm of the deviation.
        parameters: of the process over what the forest leaves over, in units of that deviation, by name.
        range: of the architectures it has seen.
        lean: how far a candidate's `standing` moves what is foreseen, in units of the doubt.
        widening: factor on the posterior's deviations, > 0, from how far off it was on tasks left out.
    """

    hyperparameters: tuple[str, ...]
    widths: Mapping[str, int]
    scaling: Scaling
    forest: Forest
    doubt: Forest
    parameters: Mapping[str, Tensor]
    range: Range
    lean: ByStage
    widening: ByStage

    def __post_init__(self) -> None:
        """Refuse factors that would make predictions certain, or worse."""
        if min(self.widening.numbers) <= 0.0:
            found = ", ".join(str(factor) for factor in self.widening.numbers)
            raise ValueError(f"deviations are widened by {found}, expected > 0")

    def form(self, inputs: Inputs) -> Form:
        """The process for inputs of these widths."""
        extra = inputs.hyperparameters.shape[1] - len(self.hyperparameters)
        unknown = (Group(UNKNOWN, extra),) if extra > 0 else ()
        return Form((*residual_groups(self.widths), *unknown), residual=True, learned=self.parameters)

    def beyond(self, inputs: Inputs) -> Columns:
        """How far each row's architecture lies outside of those seen, (n,), >= 0: see `Range.excess`.

        Of candidates without weights the number of parameters decides; nothing can be said without either.
        """
        weights = _padded("weights", inputs.weights, self.widths["weights"])
        metadata = _padded("metadata", inputs.metadata, self.widths["metadata"])
        return self.range.excess(_sized(weights, metadata))

    def stretch(self, inputs: Inputs) -> Columns:
        """Factor on the deviation of each row's prediction, (n,), > 0: what scores of tasks left out asked
        for, and more for architectures beyond those seen."""
        return self.widening.of(inputs) * (1.0 + self.beyond(inputs))

    def rows(self, inputs: Inputs) -> Rows:
        """Scale inputs, and foresee their scores.

        Raises:
            ValueError: a group that is there has another width than in meta-training.
        """
        known = len(self.hyperparameters)
        groups = {name: getattr(inputs, name) for name in READ}
        groups["hyperparameters"] = inputs.hyperparameters[:, :known]
        seen = inputs.showing(
            {name: _padded(name, block, self.widths[name]) for name, block in groups.items()}
        )
        x = residual_columns(seen, self.scaling)
        unknown = inputs.hyperparameters[:, known:]
        if unknown.shape[1]:
            x = np.hstack([x, with_presence(unknown)])
        mean = foresee(self.forest, seen)
        deviation = doubted(self.doubt, seen, mean)
        mean = mean + deviation * self.lean.of(seen) * standing(seen)
        return Rows(torch.from_numpy(x), torch.from_numpy(mean), torch.from_numpy(deviation))


def residual_groups(widths: Mapping[str, int]) -> tuple[Group, ...]:
    """The groups of `residual_columns`."""
    return (
        Group(FIDELITY, widths["fidelity"] + 1),
        Group("hyperparameters", widths["hyperparameters"]),
        Group("weights", widths["weights"]),
        Group("candidate", 1, categorical=True),
    )


def residual_columns(inputs: Inputs, scaling: Scaling) -> Columns:
    """What the process over the forest's residuals reads, (n, D): values, then the presence bit, per group.

    Fidelity has one more column: how much of the run is known already, as a fraction of the horizon.
    """
    seen = np.nan_to_num(inputs.curve[:, :1], nan=0.0)
    candidate = inputs.candidate.astype(np.float64)[:, None]
    blocks = (
        np.hstack([inputs.fidelity, seen]),
        inputs.hyperparameters,
        scaling.scale_weights(inputs.weights),
        np.where(candidate < 0, np.nan, candidate),
    )
    return np.hstack([with_presence(block) for block in blocks])


def _sized(weights: Columns, metadata: Columns) -> Columns:
    """The weights; of a row that has none the number of parameters alone, where its metadata tells it."""
    size = metadata[:, METADATA.index("log_parameters")] * np.log(10.0)
    alone = np.full_like(weights, np.nan)
    alone[:, POOLED.index("global_log_parameters")] = np.where(size > 0.0, size, np.nan)
    return np.where(np.isnan(weights).any(axis=1, keepdims=True), alone, weights)


def _padded(name: str, block: Columns, width: int) -> Columns:
    if block.shape[1] == width:
        return block
    if not np.isnan(block).any(axis=1).all():
        raise ValueError(
            f"the surrogate was trained with {width} {name} features, this search has {block.shape[1]}."
        )
    return np.full((len(block), width), np.nan)
