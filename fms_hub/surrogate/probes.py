"""Probes: how well a candidate's features tell the classes of a task apart, before any training.

n = images, d = features, k = classes that occur among the labels, z = classes of the candidate's own head.
All numbers grow with how well the candidate suits the task.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from fms_hub.errors import UsageError

NEIGHBOURS = 5
"""k of k-NN: small enough for the handful of images that a class has in a sample."""
TEMPERATURE = 0.07
"""A neighbour votes with exp(cosine / temperature): Wu et al., "Unsupervised feature learning via
non-parametric instance discrimination", 2018."""
STRENGTH = 0.1
"""C of the linear probe on standardised features."""
FOLDS = 4
"""Parts that the linear probe is held out on in turn."""
_STEPS = 200
_TIE = 1e-6
"""Cosines that differ by less are the same: rounding in a network is of this size."""
_ROUNDS = 200
_SPAN = 1e8
"""How far prior and noise of LogME may lie apart, relative to the features' own scale."""

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class ProbeScores:
    """What probes say of one candidate on one task.

    Attributes:
        logme: log evidence of linear models of the features, nats per image and class; any real number.
        h_score: between-class over total scatter; [0, k - 1].
        knn: leave-one-out accuracy of nearest neighbours; [0, 1].
        linear: held-out accuracy of a logistic regression; [0, 1].
        leep: mean log likelihood of the labels given the source head, nats per image; [-log n, 0], None
            without a source head.
        nce: minus the entropy of the labels given the source head's choice, nats; [-log k, 0], None without.
    """

    logme: float
    h_score: float
    knn: float
    linear: float
    leep: float | None = None
    nce: float | None = None


def probe_scores(
    features: ArrayLike, labels: ArrayLike, source_probabilities: ArrayLike | None = None, *, seed: int
) -> ProbeScores:
    """All probes of one candidate on one sample of a task.

    An image that is alone in its class counts as wrong in both accuracies. Fewer images than features and
    features that never change are no hindrance.

    Args:
        features: (n, d), what the candidate's head is given; n >= 2, d >= 1, finite.
        labels: (n,) integers, at least two different ones.
        source_probabilities: (n, z) under the candidate's own head, rows summing to 1; None without one.
        seed: of the linear probe's parts.

    Raises:
        UsageError: another shape or type, one class only, or numbers that are not finite.
    """
    values, classes = _checked(features, labels)
    likely = None if source_probabilities is None else _checked_source(source_probabilities, len(values))
    return ProbeScores(
        logme=logme(values, classes),
        h_score=h_score(values, classes),
        knn=nearest_neighbours(values, classes),
        linear=linear_probe(values, classes, seed=seed),
        leep=None if likely is None else leep(likely, classes),
        nce=None if likely is None else nce(likely, classes),
    )


def logme(features: Matrix, labels: Labels) -> float:
    """Largest log evidence of Bayesian linear regression on a class' indicator, over n, mean over classes.

    You et al., "LogME: practical assessment of pre-trained models for transfer learning", 2021. The ratio of
    the prior's precision to the noise's is found by the fixed-point iteration of You et al., "Ranking and
    tuning pre-trained models", 2022, in the basis of the left singular vectors, for all classes at once.

    Args:
        features: (n, d), as they are: the regression has no intercept.
        labels: (n,) in 0 .. k - 1, every class occurring.
    """
    targets = _indicators(labels)
    left, spectrum = _spectrum(features, float(np.linalg.norm(features)))
    energy = (left.T @ targets) ** 2
    rest = np.maximum(0.0, targets.sum(axis=0) - energy.sum(axis=0))
    ratios = _fixed_point(spectrum, energy, rest, len(labels)) if len(spectrum) else np.ones(len(rest))
    return float(np.mean(_evidence(ratios, spectrum, energy, rest, len(labels))))


def _fixed_point(spectrum: Matrix, energy: Matrix, rest: Matrix, images: int) -> Matrix:
    """The ratio t of precisions, (k,), where prior and noise agree with the weights that follow from them."""
    low, high = spectrum.mean() / _SPAN, spectrum.mean() * _SPAN
    squares = spectrum[:, None]
    ratio = np.full(energy.shape[1], spectrum.mean())
    for _ in range(_ROUNDS):
        shrunk = ratio / (ratio + squares)
        free = images - len(spectrum) + shrunk.sum(axis=0)
        weights = ((1 - shrunk) * energy / (ratio + squares)).sum(axis=0)
        residual = (shrunk**2 * energy).sum(axis=0) + rest
        with np.errstate(divide="ignore"):
            new = np.clip((images - free) / free * residual / weights, low, high)
        done = bool(np.all(np.abs(new - ratio) <= 1e-6 * ratio))
        ratio = new
        if done:
            break
    return ratio


def _evidence(ratio: Matrix, spectrum: Matrix, energy: Matrix, rest: Matrix, images: int) -> Matrix:
    """Log evidence over n, (k,), at these ratios of precisions, with the noise that is then most likely."""
    explained = spectrum[:, None] / ratio
    noise = ((energy / (1 + explained)).sum(axis=0) + rest) / images
    found: Matrix = -0.5 * (np.log(2 * np.pi * noise) + 1 + np.log1p(explained).sum(axis=0) / images)
    return found


def h_score(features: Matrix, labels: Labels) -> float:
    """Trace of the inverse shrunk covariance times the covariance of class means, in [0, k - 1].

    Ibrahim et al., "Newer is not always better: rethinking transferability metrics, their peculiarities,
    stability and performance", 2022, after Bao et al., 2019; the shrinkage is Ledoit and Wolf's, 2004.
    Both covariances are taken over n, in the basis of the centred features' singular vectors.

    Args:
        features: (n, d).
        labels: (n,) in 0 .. k - 1, every class occurring.
    """
    centred = features - features.mean(axis=0)
    left, spectrum = _spectrum(centred, float(np.linalg.norm(features)))
    if len(spectrum) == 0:
        return 0.0
    variances = spectrum / len(labels)
    shrinkage, target = _ledoit_wolf(centred, variances)
    kept = (1 - shrinkage) * variances
    targets = _indicators(labels)
    between = ((left.T @ targets) ** 2 / targets.sum(axis=0)).sum(axis=1)
    return float(np.sum(kept / (kept + shrinkage * target) * between))


def _ledoit_wolf(centred: Matrix, variances: Matrix) -> tuple[float, float]:
    """Share of the scaled identity in the shrunk covariance, and its scale.

    Args:
        centred: (n, d) features without their mean.
        variances: (r,) the positive eigenvalues of their covariance.
    """
    images, width = centred.shape
    scale = float(variances.sum()) / width
    square = float(np.sum(variances**2))
    spread = (square - width * scale**2) / width
    fourth = float(np.sum(np.sum(centred**2, axis=1) ** 2)) / images
    error = (fourth - square) / (width * images)
    return (min(error, spread) / spread if spread > 0 and error > 0 else 0.0), scale


def nearest_neighbours(features: Matrix, labels: Labels) -> float:
    """Leave-one-out accuracy of `NEIGHBOURS` neighbours by cosine, in [0, 1].

    All neighbours that are as near as the last one vote too, and classes with equally many votes share the
    image, so that the order of the images says nothing.

    Args:
        features: (n, d), n >= 2.
        labels: (n,) in 0 .. k - 1.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(lengths > 0, lengths, 1.0)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = min(NEIGHBOURS, len(labels) - 1)
    last = -np.partition(-cosines, nearest - 1, axis=1)[:, nearest - 1]
    weights = np.where(cosines >= last[:, None] - _TIE, np.exp((cosines - 1) / TEMPERATURE), 0.0)
    votes = weights @ _indicators(labels)
    winners = votes >= votes.max(axis=1, keepdims=True) * (1 - _TIE)
    right = winners[np.arange(len(labels)), labels] / winners.sum(axis=1)
    return float(right.mean())


def linear_probe(features: Matrix, labels: Labels, *, seed: int) -> float:
    """Accuracy of a logistic regression on images it was not fitted to, in [0, 1].

    Every class is dealt over `FOLDS` parts, and each part is predicted from the others. An image that is
    alone in its class is fitted to, never predicted, and counts as wrong.

    Args:
        features: (n, d).
        labels: (n,) in 0 .. k - 1, k >= 2.
        seed: of the parts.
    """
    parts = _parts(labels, np.random.default_rng(seed))
    right = 0
    for part in range(FOLDS):
        held = parts == part
        if held.any():
            right += int(np.sum(_predicted(features, labels, held) == labels[held]))
    return right / len(labels)


def _parts(labels: Labels, generator: np.random.Generator) -> Labels:
    """Which part each image belongs to, (n,) in 0 .. FOLDS - 1; -1 for one that is alone in its class."""
    parts = np.full(len(labels), -1)
    dealt = 0
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        if len(members) > 1:
            parts[members] = (dealt + np.arange(len(members))) % FOLDS
            dealt += len(members)
    return parts


def _predicted(features: Matrix, labels: Labels, held: NDArray[np.bool_]) -> Labels:
    scaler = StandardScaler().fit(features[~held])
    model = LogisticRegression(C=STRENGTH, max_iter=_STEPS, tol=1e-3)
    # Several threads on so small a problem take up to a hundred times as long beside another job.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # a probe that is nearly fitted is a probe
        model.fit(scaler.transform(features[~held]), labels[~held])
    found: Labels = model.predict(scaler.transform(features[held]))
    return found


def leep(source: Matrix, labels: Labels) -> float:
    """Log expected empirical prediction.

    Nguyen et al., "LEEP: a new measure to evaluate transferability of learned representations", 2020.

    Args:
        source: (n, z) probabilities under the source head.
        labels: (n,) in 0 .. k - 1.

    Returns:
        Nats per image, in [-log n, 0].
    """
    joint = _indicators(labels).T @ source
    share = joint.sum(axis=0)
    given = np.divide(joint, share, out=np.zeros_like(joint), where=share > 0)
    return min(0.0, float(np.mean(np.log((given[labels] * source).sum(axis=1)))))


def nce(source: Matrix, labels: Labels) -> float:
    """Negative conditional entropy: Tran et al., "Transferability and hardness of supervised tasks", 2019.

    Args:
        source: (n, z) probabilities under the source head; its choice is the largest.
        labels: (n,) in 0 .. k - 1.

    Returns:
        Nats, in [-log k, 0].
    """
    joint = _indicators(labels).T @ np.eye(source.shape[1])[source.argmax(axis=1)]
    here = joint[joint > 0]
    given = (joint / np.maximum(joint.sum(axis=0), 1.0))[joint > 0]
    return float(np.sum(here * np.log(given))) / len(labels) + 0.0


def _indicators(labels: Labels) -> Matrix:
    """(n, k): 1 where the image is of the class."""
    return np.eye(int(labels.max()) + 1)[labels]


def _spectrum(values: Matrix, size: float) -> tuple[Matrix, Matrix]:
    """Left singular vectors (n, r) and squared singular values (r,), those above rounding at this size."""
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    kept = singular > size * max(values.shape) * np.finfo(np.float64).eps
    return left[:, kept], singular[kept] ** 2


def _checked(features: ArrayLike, labels: ArrayLike) -> tuple[Matrix, Labels]:
    values, classes = np.asarray(features, dtype=np.float64), np.asarray(labels)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UsageError(f"features must be of shape (images, features), found {values.shape}.")
    if classes.shape != (len(values),) or not np.issubdtype(classes.dtype, np.integer):
        raise UsageError(
            f"labels must be {len(values)} integers, one for each row of features; found {classes.dtype} "
            f"of shape {classes.shape}."
        )
    _require_finite(values, "features")
    present, numbered = np.unique(classes, return_inverse=True)
    if len(present) < 2:
        raise UsageError(f"probes need images of at least two classes, found {len(present)}.")
    # No probe depends on the unit, and squares of numbers near 1 neither overflow nor vanish.
    return values / (np.abs(values).max() or 1.0), numbered.astype(np.int64)


def _checked_source(probabilities: ArrayLike, images: int) -> Matrix:
    source = np.asarray(probabilities, dtype=np.float64)
    if source.ndim != 2 or len(source) != images or source.shape[1] == 0:
        raise UsageError(
            f"source probabilities must be of shape ({images}, source classes), found {source.shape}."
        )
    _require_finite(source, "source probabilities")
    if source.min() < 0 or np.abs(source.sum(axis=1) - 1).max() > 1e-3:
        raise UsageError("source probabilities must not be negative and sum to 1 for each image.")
    summing: Matrix = source / source.sum(axis=1, keepdims=True)
    return summing


def _require_finite(values: NDArray[Any], what: str) -> None:
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise UsageError(
            f"{what} must be finite, found NaN or infinity for {bad.sum()} of {len(bad)} images, the first "
            f"of them number {int(bad.argmax())}. The checkpoint may be damaged, or overflow on these images."
        )
