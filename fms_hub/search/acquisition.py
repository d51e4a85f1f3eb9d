"""Acquisition: how much a posterior promises over the incumbent. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr

from fms_hub.records import Observation
from fms_hub.surrogate.posterior import Posterior

IncumbentRule = Literal["at-fidelity", "running-max", "horizon"]

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


def incumbents(
    history: Sequence[Observation], epochs: NDArray[np.int64], horizon: int, rule: IncumbentRule
) -> NDArray[np.float64]:
    """The score to improve on at each of the given epochs.

    Args:
        history: all observations; failed ones never count.
        epochs: (n,), the epochs asked about, 1 .. horizon.
        horizon: epochs of a full run.
        rule: ``"at-fidelity"``: best score seen exactly at that epoch, or anywhere if nobody got
            there (DyHPO, Wistuba et al. 2022); ``"running-max"``: best score at that epoch or
            earlier; ``"horizon"``: best score anywhere (DPL, Kadra et al. 2023).

    Returns:
        (n,), in [0, 1]; 0 where nothing has been seen.
    """
    at = np.full(horizon + 1, -np.inf)
    for observation in history:
        if observation.score is not None:
            at[observation.epoch] = max(at[observation.epoch], observation.score)
    anywhere = at.max() if np.isfinite(at).any() else 0.0
    if rule == "horizon":
        return np.full(len(epochs), anywhere)
    best = np.maximum.accumulate(at)[epochs] if rule == "running-max" else at[epochs]
    return np.where(np.isfinite(best), best, anywhere)
