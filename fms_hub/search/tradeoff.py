"""A search for two objectives: the score, and a cost of the candidate that is known before training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from fms_hub.records import Observation
from fms_hub.search.acquisition import TO_THE_END
from fms_hub.search.pareto import Strips, hypervolume, log_improvement_at_gain, undominated
from fms_hub.search.shelf import best_of
from fms_hub.surrogate.posterior import Posterior

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Tradeoff:
    """The second objective of a search.

    A cost enters as its gain, log(r / cost) / log(r / least cost), in (0, 1]: the cheapest candidate has 1,
    and halving a cost is worth the same everywhere. The reference r lies above the dearest candidate by the
    factor (dearest / cheapest)^(1 / (k - 1)), k = candidates, so that points spread evenly over the costs
    weigh alike (Ishibuchi et al. 2018); where all cost the same, all gains are 1 and only the score counts.

    Attributes:
        name: of the cost, e.g. ``"latency"``.
        costs: by candidate, > 0, lower is better; of equal unit.

    Raises:
        UsageError: there is no cost, or one is not a positive finite number.
    """

    name: str
    costs: Mapping[str, float]

    def __post_init__(self) -> None:
        wrong = [f"{c}: {v}" for c, v in self.costs.items() if not (math.isfinite(v) and v > 0)]
        if wrong or not self.costs:
            found = ", ".join(wrong) or "none"
            raise UsageError(f"{self.name} must be a positive number for each candidate, found {found}.")

    def gains(self, candidates: Sequence[str]) -> Vector:
        """How cheap candidates are, (n,), in (0, 1]."""
        least, most = min(self.costs.values()), max(self.costs.values())
        spread = math.log(most / least)
        if spread == 0.0:
            return np.ones(len(candidates))
        whole = spread * (1.0 + 1.0 / (len(self.costs) - 1))
        return 1.0 - np.log([self.costs[name] / least for name in candidates]) / whole

    def log_improvement(
        self,
        believed: Posterior,
        candidates: Sequence[str],
        history: Sequence[Observation],
        worst: float,
    ) -> Vector:
        """Logarithm of the expected hypervolume improvement over the front seen, (n,).

        Args:
            believed: scores of n runs.
            candidates: of these runs, n names.
            history: all observations; failed ones never count.
            worst: score that counts for nothing, e.g. that of guessing.
        """
        seen = [o for o in history if o.score is not None]
        strips = Strips.above(_scores(seen), self.gains([o.candidate for o in seen]), (worst, 0.0))
        return log_improvement_at_gain(believed, self.gains(candidates), strips)

    def front(self, history: Sequence[Observation]) -> tuple[Observation, ...]:
        """The observations that no other beats in one objective without losing in the other; of equals one.

        The one of the best score comes first.
        """
        seen = [o for o in history if o.score is not None]
        on = undominated(_scores(seen), self.gains([o.candidate for o in seen]))
        chosen = [o for o, is_on in zip(seen, on, strict=True) if is_on]
        return tuple(sorted(chosen, key=lambda o: -(o.score or 0.0)))

    def hypervolume(self, history: Sequence[Observation], worst: float = 0.0) -> float:
        """Area below the front of a history, in score x gain, within [0, 1 - worst]."""
        seen = [o for o in history if o.score is not None]
        return hypervolume(_scores(seen), self.gains([o.candidate for o in seen]), (worst, 0.0))


def front_of(history: Sequence[Observation], tradeoff: Tradeoff | None) -> tuple[Observation, ...]:
    """The best observations, best score first: the front of a tradeoff, or the best score alone.

    Args:
        history: all observations; empty, or without one that went well, it has no front.
        tradeoff: of the search, or None.
    """
    if tradeoff is not None:
        return tradeoff.front(history)
    best = best_of(history)
    return () if best is None else (best,)


def check_tradeoff(tradeoff: Tradeoff | None, candidates: Sequence[str], acquisition: str) -> None:
    """Whether a search can pursue it.

    Raises:
        UsageError: a candidate's cost is missing, or the acquisition looks no further than the next epochs.
    """
    if tradeoff is None:
        return
    require_rule(acquisition)
    missing = [name for name in candidates if name not in tradeoff.costs]
    if missing:
        raise UsageError(f"{tradeoff.name} is missing for {', '.join(missing)}; give it for each candidate.")


def require_rule(acquisition: str) -> None:
    """Whether an acquisition can weigh two objectives.

    Raises:
        UsageError: it cannot.
    """
    if acquisition not in TO_THE_END:
        raise UsageError(
            f"several objectives need acquisition {', '.join(TO_THE_END[:-1])} or {TO_THE_END[-1]}, found "
            f"{acquisition!r}: the others compare with the best score alone."
        )


def _scores(seen: Sequence[Observation]) -> Vector:
    return np.array([o.score for o in seen], dtype=np.float64)
