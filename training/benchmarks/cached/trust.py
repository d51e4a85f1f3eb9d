"""How far a surrogate can be trusted: whether scores lie within its intervals, and how surprising they are.

Questions are how runs end, asked after a random search of so many epochs from where the search is with each
run; runs that it finished are not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fms_hub.search.scheduler import fit_spread
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate
from training.meta.episodes import final_rows, seen_rows, spend
from training.meta.table import Table

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)
TOLD = (0.5, 0.9)
"""The levels that tables tell; pictures show all."""
FIDELITIES = (0, 1, 2, 4, 8)
"""Epochs seen; each stands for itself and all up to the next."""
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Trust:
    """Of n forecasts.

    Attributes:
        covered: whether each score lies in the central interval of each of `LEVELS`, (n, levels).
        surprise: negative log density of each, nats, (n,); in the units of the score.
    """

    covered: NDArray[np.bool_]
    surprise: Vector

    @classmethod
    def of(cls, believed: Posterior, scores: Vector) -> Trust:
        """Against what came out, (n,)."""
        off = (scores - believed.mean) / believed.std
        reach = stats.norm.ppf([(1 + level) / 2 for level in LEVELS])
        surprise = 0.5 * off**2 + np.log(believed.std) + 0.5 * np.log(2 * np.pi)
        return cls(np.abs(off)[:, None] <= reach, surprise)

    def numbers(self, chosen: NDArray[np.bool_]) -> dict[str, float]:
        """Shares covered, named "50 %" and so on, and the mean "surprise" of the chosen; none if none is."""
        if not chosen.any():
            return {}
        shares = self.covered[chosen].mean(axis=0).tolist()
        found = {percent(level): share for level, share in zip(LEVELS, shares, strict=True)}
        return found | {"surprise": float(self.surprise[chosen].mean())}


def percent(level: float) -> str:
    """As a number of percent."""
    return f"{level:.0%}".replace("%", " %")


def after_search(
    surrogate: Surrogate, table: Table, epochs: int, rng: np.random.Generator
) -> dict[str, float]:
    """`Trust.numbers` of how a task's runs end, by "FIDELITY/NUMBER", and of all of them by "all/NUMBER".

    Args:
        surrogate: meta-trained, or from scratch if ``epochs`` > 0.
        table: of the task.
        epochs: of the random search.
        rng: draws it.
    """
    reached = spend(table, epochs, rng)
    known, asked = seen_rows(table, reached), final_rows(table, reached)
    seen = reached[table.finished]
    open_ = seen < table.horizons[table.finished]
    told = fitted(surrogate, table.inputs.rows(known), table.scores[known])
    asked, seen = asked[open_], seen[open_]
    if len(asked) == 0:
        return {}
    trust = Trust.of(told.posterior(table.inputs.rows(asked)), table.scores[asked])
    nearest = np.searchsorted(FIDELITIES, seen, side="right") - 1
    found = {f"all/{name}": value for name, value in trust.numbers(np.ones(len(seen), dtype=bool)).items()}
    for place, fidelity in enumerate(FIDELITIES):
        numbers = trust.numbers(nearest == place)
        found |= {f"{fidelity}/{name}": value for name, value in numbers.items()}
    return found


def fitted(surrogate: Surrogate, inputs: Inputs, scores: Vector) -> Surrogate:
    """Fitted to n answered questions as a search does it, and conditioned on all of them; n may be 0."""
    return fit_spread(surrogate, inputs, scores).condition(inputs, scores) if len(scores) else surrogate
