"""What a surrogate believes about scores not seen yet; all that an acquisition function gets to see."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Posterior:
    """Independent normal marginals of n scores.

    Attributes:
        mean: shape (n,), in the units of the score.
        std: shape (n,), > 0, the noise of a single observation included.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
