from __future__ import annotations

import numpy as np
import pytest

from fms_hub.errors import UsageError
from fms_hub.finetune.scores import METRICS, accuracy, balanced_accuracy, macro_f1, metric_named

# Eight images of class 0, two of class 1, one of class 2; by hand:
#            predicted 0  1  2   recall   precision   F1
# class 0              7  1  0   7/8      7/8         7/8
# class 1              1  1  0   1/2      1/3         2/5
# class 2              0  1  0   0        none        0
LABELS = np.array([0] * 8 + [1] * 2 + [2])
PREDICTIONS = np.array([0] * 7 + [1] + [0, 1] + [1])


def test_an_imbalanced_table_worked_by_hand():
    assert accuracy(LABELS, PREDICTIONS) == pytest.approx(8 / 11)
    assert balanced_accuracy(LABELS, PREDICTIONS) == pytest.approx((7 / 8 + 1 / 2 + 0) / 3)
    assert macro_f1(LABELS, PREDICTIONS) == pytest.approx((7 / 8 + 2 / 5 + 0) / 3)


def test_a_class_that_is_predicted_but_absent_counts_for_f1_alone():
    labels, predictions = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    assert balanced_accuracy(labels, predictions) == pytest.approx((1 / 2 + 1) / 2)
    assert macro_f1(labels, predictions) == pytest.approx((2 / 3 + 1 + 0) / 3)


@pytest.mark.parametrize("name", METRICS)
def test_all_right_is_one_and_all_wrong_is_zero(name):
    labels = np.array([0, 1, 1, 2])
    assert metric_named(name)(labels, labels) == 1.0
    assert metric_named(name)(labels, (labels + 1) % 3) == 0.0


def test_an_unknown_metric_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match=r"accuracy, balanced_accuracy, macro_f1; found 'auc'"):
        metric_named("auc")
