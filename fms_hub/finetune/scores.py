"""Scores of a classifier: pure functions from labels and predictions to [0, 1], higher is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, recall_score

from fms_hub.errors import UsageError

Labels = NDArray[np.integer[Any]]
Metric = Callable[[Labels, Labels], float]


def accuracy(labels: Labels, predictions: Labels) -> float:
    """Fraction of predictions that are right.

    Args:
        labels: (n,) true classes, n >= 1.
        predictions: (n,) predicted classes.
    """
    return float(accuracy_score(labels, predictions))


def balanced_accuracy(labels: Labels, predictions: Labels) -> float:
    """Mean recall over the classes that occur among the labels, arguments as in `accuracy`.

    Brodersen et al., 2010, without the correction for chance.
    """
    present = np.unique(labels)
    return float(recall_score(labels, predictions, labels=present, average="macro", zero_division=0.0))


def macro_f1(labels: Labels, predictions: Labels) -> float:
    """Mean F1 over the classes that occur among labels or predictions, arguments as in `accuracy`.

    A class that is predicted but never right counts as 0.
    """
    return float(f1_score(labels, predictions, average="macro", zero_division=0.0))


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
"""The scores by the name a user gives."""


def metric_named(name: str) -> Metric:
    """The score of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in METRICS:
        raise UsageError(f"the metric must be one of {', '.join(METRICS)}; found {name!r}.")
    return METRICS[name]
