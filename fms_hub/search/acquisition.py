"""Acquisition: how much a posterior promises over the incumbent. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr, ndtr

from fms_hub.records import Observation
from fms_hub.surrogate.posterior import Posterior

Rule = Literal["ei-per-epoch", "ei", "ei-per-second", "random-horizon", "at-fidelity", "running-max"]
"""How far ahead is asked, what the answer has to beat, and what getting it costs.

    ei-per-epoch    EI at the last epoch over the best score seen anywhere, divided by the epochs until then
                    (EI per unit of cost, Snoek et al. 2012, section 3.2); of a run that has not begun only a
                    share `CAUTION` of the deviation counts
    ei              EI at the last epoch over the best score seen anywhere (DPL, Kadra et al. 2023)
    ei-per-second   as ei-per-epoch, divided by the seconds until the last epoch instead, where an epoch takes
                    as long as one of the cheapest tenth of the proposals at least
    random-horizon  probability to beat T = f + tau (1 - f) some h epochs ahead, f the best score seen,
                    h uniform in 1 .. horizon, log10 tau uniform in -4 .. -1 (ifBO, Rakotoarison et al. 2024)
    at-fidelity     EI at the next epoch over the best score seen at that epoch, or anywhere if nobody
                    got there (DyHPO, Wistuba et al. 2022; FMS, Mehta et al. 2024)
    running-max     EI at the next epoch over the best score seen at that epoch or before
"""

DEFAULT_RULE: Rule = "ei-per-epoch"
TO_THE_END: tuple[Rule, ...] = ("ei-per-epoch", "ei", "ei-per-second")
"""Those that ask about the end of a run."""
CAUTION = 0.6
"""How much of its deviation counts for a run that has not begun, where costs do: the many runs that could
begin are unsure alike, and the luckiest of them always promises something. Found on meta-validation, see
training/LOG.md."""
CHEAP = 0.1
"""What costs less than this quantile of the proposals counts as costing so much."""

_LOG_ROOT_TAU = 0.5 * np.log(2 * np.pi)
_LOG_ROOT_HALF_PI = 0.5 * np.log(np.pi / 2)


def log_expected_improvement(posterior: Posterior, best: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of E[max(y - best, 0)] for normal marginals, finite where EI itself underflows.

    EI = (mu - f) Phi(z) + sigma phi(z), z = (mu - f) / sigma (Mockus 1978; Wistuba et al. 2022,
    eq. 4, for the multifidelity form); the logarithm after Ament et al. 2023, eq. 9.

    Args:
        posterior: n marginals.
        best: (n,), the incumbent to improve on, per row.

    Returns:
        (n,), natural logarithm, in units of log score.
    """
    z = (posterior.mean - best) / posterior.std
    improvement: NDArray[np.float64] = _log_h(z) + np.log(posterior.std)
    return improvement


def _log_h(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of phi(z) + z Phi(z), in three ranges of z."""
    near = np.maximum(z, -1.0)
    close: NDArray[np.float64] = np.log(np.exp(-0.5 * near**2 - _LOG_ROOT_TAU) + near * ndtr(near))
    far = np.clip(z, -1e4, -1.0)
    tail = np.log(erfcx(-far / np.sqrt(2)) * -far) + _LOG_ROOT_HALF_PI
    # expm1 keeps the difference of two nearly equal numbers; beyond 1e4 it is 1 / z^2 to the last digit.
    middle = -0.5 * z**2 - _LOG_ROOT_TAU + np.log(-np.expm1(np.minimum(tail, -1e-300)))
    distant = np.minimum(z, -1.0)
    limit = -0.5 * distant**2 - _LOG_ROOT_TAU - 2.0 * np.log(-distant)
    found: NDArray[np.float64] = np.where(z > -1.0, close, np.where(z > -1e4, middle, limit))
    return found


def log_probability_of_improvement(
    posterior: Posterior, threshold: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Logarithm of P(y > threshold) for normal marginals (Kushner 1964), (n,)."""
    found: NDArray[np.float64] = log_ndtr((posterior.mean - threshold) / posterior.std)
    return found


@dataclass(frozen=True)
class Steps:
    """What could be trained next, one more epoch of each of n runs, and what is asked about it.

    Attributes:
        following: (n,), the next epoch of each run; 1 where it has not begun.
        asked: (n,), the epochs asked about, not below those.
        seconds: (n,), that the next epoch of each will take, > 0.
    """

    following: NDArray[np.int64]
    asked: NDArray[np.int64]
    seconds: NDArray[np.float64]

    @property
    def epochs(self) -> NDArray[np.int64]:
        """What is to be trained until the answer is seen, (n,), >= 1."""
        return self.asked - self.following + 1


@dataclass(frozen=True)
class Acquisition:
    """One step's acquisition function: which epochs to ask about, and how to rate the answers.

    Attributes:
        rule: see `Rule`.
        horizon: epochs of a full run.
        ahead: epochs to look ahead, drawn for this step; random-horizon alone uses it.
        reach: tau, drawn for this step; random-horizon alone uses it.
    """

    rule: Rule
    horizon: int
    ahead: int
    reach: float

    @classmethod
    def draw(cls, rule: Rule, horizon: int, rng: np.random.Generator) -> Acquisition:
        """Draw what is random about this step."""
        return cls(rule, horizon, int(rng.integers(1, horizon + 1)), float(10 ** rng.uniform(-4, -1)))

    def asked(self, following: NDArray[np.int64]) -> NDArray[np.int64]:
        """The epochs asked about, (n,), where ``following`` (n,) is each run's next one."""
        if self.rule in TO_THE_END:
            return np.full_like(following, self.horizon)
        if self.rule == "random-horizon":
            return np.minimum(following - 1 + self.ahead, self.horizon)
        return following

    def rate(self, posterior: Posterior, steps: Steps, history: Sequence[Observation]) -> NDArray[np.float64]:
        """How much each answer promises, (n,); only the order matters.

        Args:
            posterior: of the scores asked about.
            steps: what is asked.
            history: all observations.
        """
        best = incumbents(history, steps.asked, self.horizon, self.rule)
        if self.rule == "random-horizon":
            return log_probability_of_improvement(posterior, best + self.reach * (1.0 - best))
        return self.for_cost(log_expected_improvement(self.cautious(posterior, steps), best), steps)

    def cautious(self, posterior: Posterior, steps: Steps) -> Posterior:
        """The posterior that improvements are expected from: see `CAUTION`."""
        if not self._counts_costs:
            return posterior
        return Posterior(posterior.mean, posterior.std * np.where(steps.following == 1, CAUTION, 1.0))

    def for_cost(self, improvement: NDArray[np.float64], steps: Steps) -> NDArray[np.float64]:
        """Logarithms of improvements (n,), divided by what the answers cost where the rule counts that."""
        if not self._counts_costs:
            return improvement
        found: NDArray[np.float64] = improvement - np.log(steps.epochs)
        if self.rule == "ei-per-second":
            found = found - np.log(np.maximum(steps.seconds, np.quantile(steps.seconds, CHEAP)))
        return found

    @property
    def _counts_costs(self) -> bool:
        return self.rule in ("ei-per-epoch", "ei-per-second")


def incumbents(
    history: Sequence[Observation], epochs: NDArray[np.int64], horizon: int, rule: Rule
) -> NDArray[np.float64]:
    """The score to improve on at each of the given epochs.

    Args:
        history: all observations; failed ones never count.
        epochs: (n,), the epochs asked about, 1 .. horizon.
        horizon: epochs of a full run.
        rule: see `Rule`; those that ask about the horizon take the best score seen anywhere.

    Returns:
        (n,), in [0, 1]; 0 where nothing has been seen.
    """
    at = np.full(horizon + 1, -np.inf)
    for observation in history:
        if observation.score is not None:
            at[observation.epoch] = max(at[observation.epoch], observation.score)
    anywhere = at.max() if np.isfinite(at).any() else 0.0
    if rule in (*TO_THE_END, "random-horizon"):
        return np.full(len(epochs), anywhere)
    best = np.maximum.accumulate(at)[epochs] if rule == "running-max" else at[epochs]
    return np.where(np.isfinite(best), best, anywhere)
