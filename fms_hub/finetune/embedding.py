"""Where a task lies among others: what a small bundled encoder makes of a sample of its images.

Fifteen statistics over the sample leave this module, never features of one image. n = images, d = features.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fms_hub.finetune.features import SAMPLE, FeatureReader, sample
from fms_hub.finetune.gallery import Gallery
from fms_hub.models import catalog
from fms_hub.tasks.embedding import DIRECTIONS, EMBEDDING
from fms_hub.tasks.task import Task

ENCODER = "bundled/test_resnet.omniglot_small"
"""Trained on 242 handwritten characters at 32 pixels, which are no task of the corpus."""
_SHARPNESS = 20.0
_TINY = 1e-6

Matrix = NDArray[np.float64]


def task_embedding(task: Task, *, images: int = SAMPLE, seed: int = 0) -> dict[str, float]:
    """Describe a sample of a task's training images by a bundled encoder's penultimate features at 32 pixels.

    Neither the order of the images nor the numbers of the classes matter where the sample is the whole
    split. The encoder runs on the CPU, about a second for 512 small images.

    Args:
        task: the images.
        images, seed: see `fms_hub.finetune.features.sample`.

    Returns:
        All finite, by the names in `EMBEDDING`. A response is a feature vector over its length:

        - ``response_length``: logarithm of the mean length of the feature vectors.
        - ``response_spread``: variance of the responses; [0, 1], 0 = all images answered alike.
        - ``class_share``: share of that variance between classes, corrected for chance (epsilon squared);
          [0, 1].
        - ``within_rank``, ``between_rank``: logarithm of the participation ratio, the number of directions
          that variance within classes and between class means takes; >= 0.
        - ``nearest_cosine``: mean cosine of an image's centred response to that of its nearest neighbour;
          [-1, 1], 1 = every image has a double.
        - ``nearest_right``: how often that neighbour is of the same class, 1-nearest-neighbour accuracy
          smoothed by a logistic function of the difference of cosines; [0, 1].
        - ``response_1`` ... ``response_8``: mean response along the first cosines of a discrete cosine
          transform over the encoder's features, a fixed projection; [-1, 1].
    """
    rows = sample(task, images, seed=seed)
    (encoder,) = catalog.resolve(ENCODER)
    found = FeatureReader(encoder, len(task.info.classes)).read(task.train.take(rows), Gallery(task))
    return embedding_of(found.values.astype(np.float64), found.labels)


def embedding_of(features: Matrix, labels: NDArray[np.int64]) -> dict[str, float]:
    """The numbers of `task_embedding` from features (n, d) and labels (n,), n >= 2, d > DIRECTIONS."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    responses = features / np.maximum(lengths, _TINY)
    centre = responses.mean(axis=0)
    numbers = {"response_length": float(np.log(lengths.mean() + _TINY))}
    numbers.update(_scatter(responses - centre, labels))
    numbers.update(_nearest(responses - centre, labels))
    numbers |= {f"response_{i + 1}": float(value) for i, value in enumerate(_cosines(len(centre)) @ centre)}
    return {name: numbers[name] for name in EMBEDDING}


def _scatter(centred: Matrix, labels: NDArray[np.int64]) -> Mapping[str, float]:
    """Sizes and ranks of the variance within classes and between them."""
    _, numbered, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.eye(len(counts))[numbered].T @ centred / counts[:, None]
    within = centred - means[numbered]
    total, inside = float(np.sum(centred**2)), float(np.sum(within**2))
    free = len(centred) - len(counts)
    by_chance = inside / free * (len(centred) - 1) if free else total
    return {
        "response_spread": min(1.0, total / len(centred)),  # rounding may go beyond
        "class_share": min(1.0, max(0.0, 1 - by_chance / total)) if total > _TINY**2 else 0.0,
        "within_rank": _log_rank(within),
        "between_rank": _log_rank(means[numbered]),
    }


def _log_rank(centred: Matrix) -> float:
    """Logarithm of the participation ratio of the covariance's eigenvalues; 0 where nothing varies."""
    covariance = centred.T @ centred / len(centred)
    trace = float(np.trace(covariance))
    return max(0.0, float(np.log(trace**2 / np.sum(covariance**2)))) if trace > _TINY**2 else 0.0


def _nearest(centred: Matrix, labels: NDArray[np.int64]) -> Mapping[str, float]:
    """Cosines to the nearest image at all, of the same class and of another one."""
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.where(lengths > _TINY, centred / np.maximum(lengths, _TINY), 0.0)
    cosines = unit @ unit.T
    alike = labels[:, None] == labels
    np.fill_diagonal(cosines, -1.0)
    own, other = (np.where(mask, cosines, -1.0).max(axis=1) for mask in (alike, ~alike))
    return {
        "nearest_cosine": min(1.0, float(np.maximum(own, other).mean())),
        "nearest_right": float(np.mean(1 / (1 + np.exp(-_SHARPNESS * (own - other))))),
    }


def _cosines(width: int) -> Matrix:
    """Rows 1 .. DIRECTIONS of the orthonormal DCT-II of this width, (DIRECTIONS, width)."""
    rows, columns = np.arange(1, DIRECTIONS + 1)[:, None], np.arange(width) + 0.5
    found: Matrix = np.sqrt(2 / width) * np.cos(np.pi * rows * columns / width)
    return found
