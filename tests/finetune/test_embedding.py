"""The embedding of a task: numbers by hand, and what must not change them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct

from fms_hub.finetune.embedding import embedding_of, task_embedding
from fms_hub.tasks.embedding import EMBEDDING
from fms_hub.tasks.task import ArrayImages, Task, task_from_arrays


def test_numbers_by_hand() -> None:
    """Three directions on the axes and one image at twice the length, in two classes of two."""
    features = np.array([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    found = embedding_of(features, np.array([0, 0, 1, 1]))
    assert list(found) == list(EMBEDDING)
    assert found["response_length"] == pytest.approx(np.log(5 / 4), abs=1e-5)
    # The mean response is (2, 1, 1) / 4, of squared length 6 / 16.
    assert found["response_spread"] == pytest.approx(1 - 6 / 16)
    # Within: class 0 does not vary, class 1 by 1/2 for each of two images: 1 of a total of 2.5.
    # Epsilon squared: 1 - (1 / 2) / (2.5 / 3).
    assert found["class_share"] == pytest.approx(0.4)
    # Both scatters are of rank one.
    assert found["within_rank"] == pytest.approx(0.0, abs=1e-12)
    assert found["between_rank"] == pytest.approx(0.0, abs=1e-12)
    # Centred, times four: a twice, then b and c.
    a, b, c = np.array([2, -1, -1]), np.array([-2, 3, -1]), np.array([-2, -1, 3])
    cosine = {
        "ab": a @ b / np.sqrt(a @ a * (b @ b)),
        "bc": b @ c / np.sqrt(b @ b * (c @ c)),
    }
    assert found["nearest_cosine"] == pytest.approx((1 + 1 + 2 * max(cosine.values())) / 4)
    mixed = embedding_of(features, np.array([0, 1, 0, 1]))
    assert mixed["nearest_cosine"] == pytest.approx(found["nearest_cosine"])
    own_minus_other = [1 - cosine["ab"]] * 2 + [cosine["bc"] - cosine["ab"]] * 2
    assert found["nearest_right"] == pytest.approx(np.mean(1 / (1 + np.exp(-20 * np.array(own_minus_other)))))


def test_responses_are_a_cosine_transform_of_the_mean_response() -> None:
    features = np.abs(np.random.default_rng(0).normal(size=(30, 40)))
    found = embedding_of(features, np.arange(30) % 3)
    mean = (features / np.linalg.norm(features, axis=1, keepdims=True)).mean(axis=0)
    expected = dct(mean, norm="ortho")[1:9]
    assert [found[f"response_{i}"] for i in range(1, 9)] == pytest.approx(expected.tolist(), abs=1e-12)


def test_ranks_count_directions() -> None:
    """Three classes at the corners of a simplex, each spread evenly over three other directions."""
    corners, spread = np.eye(6)[:3], np.eye(6)[3:] * 0.1
    features = np.concatenate([c + s * sign for c in corners for s in spread for sign in (-1, 1)]).reshape(
        -1, 6
    )
    found = embedding_of(features, np.repeat([0, 1, 2], 6))
    assert found["between_rank"] == pytest.approx(np.log(2), abs=1e-6)
    assert found["within_rank"] == pytest.approx(np.log(3), abs=1e-6)
    assert found["class_share"] > 0.97


def shuffled(task: Task, seed: int) -> Task:
    """The same images in another order, under other numbers of the classes."""
    generator = np.random.default_rng(seed)
    renamed = generator.permutation(len(task.info.classes))
    pairs = {}
    for name in ("train", "validation", "test"):
        split = getattr(task, name)
        order = generator.permutation(len(split.labels))
        assert isinstance(split.images, ArrayImages)
        pairs[name] = (split.images.pixels[order], renamed[split.labels[order]])
    return task_from_arrays("other", [str(i) for i in range(len(renamed))], **pairs)


@pytest.mark.parametrize("seed", [1, 2])
def test_order_and_numbers_of_classes_change_nothing(few_digits: Task, seed: int) -> None:
    one, two = task_embedding(few_digits), task_embedding(shuffled(few_digits, seed), seed=9)
    assert one == task_embedding(few_digits)
    assert two == pytest.approx(one, abs=1e-6)


def test_another_task_is_elsewhere_and_a_sample_of_one_is_near(digits: Task) -> None:
    whole = task_embedding(digits, images=1000)
    part = task_embedding(digits, images=300, seed=5)
    mixed = digits.train.labels[np.random.default_rng(0).permutation(1000)]
    assert isinstance(digits.train.images, ArrayImages)
    pixels = 255 - digits.train.images.pixels
    other = task_from_arrays("mixed", digits.info.classes, train=(pixels, mixed))
    far = task_embedding(other, images=300)
    assert whole["nearest_right"] > 0.8 > 0.3 > far["nearest_right"]
    assert whole["class_share"] > 0.3 > 0.02 > far["class_share"]
    near_by = sum(abs(whole[name] - part[name]) for name in EMBEDDING)
    far_off = sum(abs(whole[name] - far[name]) for name in EMBEDDING)
    assert near_by < 0.5 < 1.5 < far_off


def test_it_is_small_finite_and_can_be_written_as_json(few_digits: Task) -> None:
    found = task_embedding(few_digits)
    assert tuple(found) == EMBEDDING
    assert len(EMBEDDING) <= 16
    assert all(type(value) is float and np.isfinite(value) for value in found.values())
    assert json.loads(json.dumps(found)) == found


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(2, 20),
    width=st.integers(9, 30),
    classes=st.integers(1, 6),
    rank=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_features_give_numbers_in_range(
    images: int, width: int, classes: int, rank: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(images, rank)) @ generator.normal(size=(rank, width))
    labels = generator.integers(0, classes, images)
    found = embedding_of(features, labels)
    order = generator.permutation(images)
    assert embedding_of(features[order], (labels * 7 - 3)[order]) == pytest.approx(found, abs=1e-9)
    assert all(np.isfinite(value) for value in found.values())
    for name in ("response_spread", "class_share", "nearest_right"):
        assert 0 <= found[name] <= 1, name
    assert -1 <= found["nearest_cosine"] <= 1
    assert min(found["within_rank"], found["between_rank"]) >= 0
    assert all(-1 <= found[f"response_{i}"] <= 1 for i in range(1, 9))
