"""What the trees of a meta-trained surrogate read, and what they say: how scores go on, and how surely.

n = rows, D = columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fms_hub.surrogate.forest import Forest
from fms_hub.surrogate.inputs import WEIGHTS, Inputs

READ = ("hyperparameters", "fidelity", "curve", *WEIGHTS, "task", "embedding", "metadata", "probes")
"""The groups that meta-training reads, in the order of the forest's columns. The candidate's number, which
means something else in every search, is not among them."""
LAST = 1
"""The column of the curve that has the last score."""
DEVIATIONS = (0.005, 1.0)
"""Smallest and largest: scores of few images are coarser than the one, and guessing is the other off."""
ABSENT = -9.0
"""What the forest is shown where a group is absent: below everything that a column can be."""
Columns = NDArray[np.float64]


def foresee(forest: Forest, inputs: Inputs) -> Columns:
    """The scores that a forest foresees, (n,)."""
    return last_seen(inputs) + forest.predict(forest_columns(inputs))


def last_seen(inputs: Inputs) -> Columns:
    """The last score of each curve, (n,); 0 where there is none.

    Trees that foresee gains on it, not scores, need not learn the identity in steps.
    """
    found: Columns = np.nan_to_num(inputs.curve[:, LAST], nan=0.0)
    return found


def forest_columns(inputs: Inputs) -> Columns:
    """What the forest reads, (n, D): the groups of `READ`, weights as what has changed since the start."""
    changed = inputs.showing({"weights": inputs.weights - inputs.start})
    return np.hstack([_shown(getattr(changed, name)) for name in READ])


def weights_columns(inputs: Inputs) -> NDArray[np.bool_]:
    """Which of the forest's columns are weights, (D,)."""
    return np.concatenate([np.full(getattr(inputs, name).shape[1], name in WEIGHTS) for name in READ])


def doubted(doubt: Forest, inputs: Inputs, foreseen: Columns) -> Columns:
    """How far scores foreseen (n,) are typically off, (n,), in `DEVIATIONS`."""
    found: Columns = np.exp(np.clip(doubt.predict(doubt_columns(inputs, foreseen)), *np.log(DEVIATIONS)))
    return found


def doubt_columns(inputs: Inputs, foreseen: Columns) -> Columns:
    """What the doubt in scores foreseen (n,) depends on, (n, 9): fidelity, the curve so far and the score."""
    return np.hstack([inputs.fidelity, _shown(inputs.curve), foreseen[:, None]])


def _shown(block: Columns) -> Columns:
    return np.where(np.isnan(block).any(axis=1, keepdims=True), ABSENT, block)
