"""Cuts are stratified and seeded; classes that cannot be cut are named."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fms_hub.errors import TaskError
from fms_hub.tasks.splits import check_classes, split_name, stratified_cut


@given(counts=st.lists(st.integers(2, 40), min_size=1, max_size=8), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_every_class_is_cut_by_its_share(counts: list[int], seed: int) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    kept, cut = stratified_cut(labels, np.random.default_rng(seed))
    assert sorted([*kept, *cut]) == list(range(len(labels)))
    expected = [max(1, round(0.2 * count)) for count in counts]
    assert np.bincount(labels[cut], minlength=len(counts)).tolist() == expected
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(cut) > 0)


def test_cuts_repeat_with_the_seed_and_differ_without() -> None:
    labels = np.repeat(np.arange(3), 50)
    cuts = [stratified_cut(labels, np.random.default_rng(seed))[1].tolist() for seed in (1, 1, 2)]
    assert cuts[0] == cuts[1] != cuts[2]


@pytest.mark.parametrize(
    ("text", "split"),
    [
        *(("Train", "train"), ("training", "train"), ("test", "test"), ("TESTING", "test")),
        *((text, "validation") for text in ("VAL", "valid", "Validation", "dev")),
        *((text, None) for text in ("cat", "trains", "")),
    ],
)
def test_split_names(text: str, split: str | None) -> None:
    assert split_name(text) == split


def labels(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@pytest.mark.parametrize(
    ("classes", "splits", "message"),
    [
        ([], {"train": labels()}, "at least two classes, found none"),
        (["cat"], {"train": labels(0, 0, 0)}, "at least two classes, found only 'cat'"),
        (["cat", "dog"], {"train": labels(0, 1), "test": labels()}, "the test split holds no images"),
        (["cat", "dog"], {"train": labels(0, 0, 0)}, "but dog has none"),
        (
            ["cat", "dog"],
            {"train": labels(0, 0, 0), "test": labels(0, 1)},
            "dog has none; found only in test",
        ),
        (
            ["cat", "dog"],
            {"train": labels(0, 0, 0, 1)},
            r"cutting validation and test .* at least 3 .* dog \(1\)",
        ),
        (
            ["cat", "dog"],
            {"train": labels(0, 0, 1), "test": labels(0)},
            r"cutting validation .* at least 2 .* dog \(1\)",
        ),
        (
            ["cat", "dog"],
            {"train": labels(0, 0, 1), "validation": labels(0)},
            r"cutting test .* at least 2 .* dog \(1\)",
        ),
    ],
)
def test_classes_that_cannot_work(classes: list[str], splits: dict, message: str) -> None:
    with pytest.raises(TaskError) as caught:
        check_classes(classes, splits)
    assert re.search(message, str(caught.value))


def test_classes_that_just_work() -> None:
    check_classes(["cat", "dog"], {"train": labels(0, 0, 0, 1, 1, 1)})
    check_classes(["cat", "dog"], {"train": labels(0, 1), "validation": labels(0), "test": labels(1)})
    with pytest.raises(TaskError):
        check_classes(["cat", "dog"], {"train": labels(0, 0, 1, 1)})


def test_long_lists_are_shortened() -> None:
    with pytest.raises(TaskError, match=r"class0, class1, class2, class3, class4 and 5 more have none"):
        check_classes([f"class{i}" for i in range(11)], {"train": labels(10)})
