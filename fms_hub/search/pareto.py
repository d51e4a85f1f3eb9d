"""Pareto fronts of two objectives, both better where higher: hypervolume and its expected improvement.

n = points asked about, m = points of a front. A front divides the values of the second objective, the gain,
into m + 1 strips; within a strip the best score that the front has at such a gain or a higher one is
constant, its floor. What a point adds to the hypervolume is a sum over strips (Emmerich et al. 2011), so that
its expectation is a sum of products of expected improvements (Yang et al. 2019). Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from fms_hub.search.acquisition import log_expected_improvement
from fms_hub.surrogate.posterior import Posterior

Vector = NDArray[np.float64]


def undominated(scores: Vector, gains: Vector) -> NDArray[np.bool_]:
    """Which points (n,) no other beats in one objective without losing in the other; of equals the first."""
    order = np.lexsort((np.arange(len(scores)), -gains, -scores))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], gains[order]]))[:-1]
    found = np.zeros(len(scores), dtype=np.bool_)
    found[order] = gains[order] > best
    return found


@dataclass(frozen=True)
class Strips:
    """The area above a front and the reference point, in strips of the gain.

    Attributes:
        lower: where each strip begins, (m + 1,), ascending.
        upper: where it ends, (m + 1,); the last is infinite.
        floor: the score to exceed within it, (m + 1,), descending.
    """

    lower: Vector
    upper: Vector
    floor: Vector

    @classmethod
    def above(cls, scores: Vector, gains: Vector, reference: tuple[float, float]) -> Strips:
        """Above the points that exceed the reference in both objectives; others do nothing.

        Args:
            scores, gains: of the points seen, (n,); n may be 0.
            reference: the score and the gain below which nothing counts.
        """
        inside = np.flatnonzero((scores > reference[0]) & (gains > reference[1]))
        front = inside[undominated(scores[inside], gains[inside])]
        front = front[np.argsort(gains[front])]
        return cls(
            np.concatenate([[reference[1]], gains[front]]),
            np.concatenate([gains[front], [np.inf]]),
            np.concatenate([scores[front], [reference[0]]]),
        )


def hypervolume(scores: Vector, gains: Vector, reference: tuple[float, float]) -> float:
    """Area that the points dominate above the reference (Zitzler and Thiele 1998), in score x gain, >= 0.

    Args:
        scores, gains: of the points, (n,); n may be 0.
        reference: score and gain; a point that does not exceed both adds nothing.
    """
    strips = Strips.above(scores, gains, reference)
    bounded = slice(None, -1)
    widths = strips.upper[bounded] - strips.lower[bounded]
    return float((widths * (strips.floor[bounded] - reference[0])).sum())


def log_improvement_at_gain(score: Posterior, gains: Vector, strips: Strips) -> Vector:
    """Logarithm of the expected hypervolume improvement of points whose gain is known exactly.

    EHVI = sum over strips of the strip's width below the gain, times EI(score; floor).

    Args:
        score: n marginals.
        gains: (n,).
        strips: above the front.

    Returns:
        (n,), natural logarithm, in units of log (score x gain); minus infinity at a gain below the reference.
    """
    widths = np.maximum(np.minimum(gains[:, None], strips.upper) - strips.lower, 0.0)
    found: Vector = logsumexp(_log_improvements(score, strips.floor), axis=1, b=widths)
    return found


def log_improvement(score: Posterior, gain: Posterior, strips: Strips) -> Vector:
    """Logarithm of the expected hypervolume improvement of two independent normals.

    EHVI = sum over strips of (EI(gain; lower) - EI(gain; upper)) EI(score; floor), EI(gain; infinity) = 0
    (the closed form of Yang et al. 2019 for two objectives, written for maximisation).

    Args:
        score, gain: n marginals each.
        strips: above the front.

    Returns:
        (n,), natural logarithm, in units of log (score x gain).
    """
    above = _log_improvements(gain, strips.lower)
    # What follows a strip's lower end by less than the last digit counts as that digit.
    ratio = np.minimum(above[:, 1:] - above[:, :-1], -np.finfo(np.float64).eps)
    within = above.copy()
    within[:, :-1] += np.log(-np.expm1(ratio))
    found: Vector = logsumexp(within + _log_improvements(score, strips.floor), axis=1)
    return found


def _log_improvements(posterior: Posterior, bests: Vector) -> Vector:
    """Of each marginal over each incumbent, (n, m + 1)."""
    n, m = len(posterior.mean), len(bests)
    repeated = Posterior(np.repeat(posterior.mean, m), np.repeat(posterior.std, m))
    return log_expected_improvement(repeated, np.tile(bests, n)).reshape(n, m)
