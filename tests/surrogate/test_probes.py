"""Probes against numbers worked by hand, direct maximisation and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.linear_model import BayesianRidge, LogisticRegression
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from fms_hub.errors import UsageError
from fms_hub.surrogate import probes
from fms_hub.surrogate.probes import (
    h_score,
    leep,
    linear_probe,
    logme,
    nce,
    nearest_neighbours,
    probe_scores,
)


def drawn(images: int, width: int, classes: int, *, signal: float = 1.0, seed: int = 0):
    """Gaussian classes around means of length about `signal`, every class occurring."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(images) % classes)
    means = generator.normal(size=(classes, width)) * signal
    return means[labels] + generator.normal(size=(images, width)), labels


def direct_evidence(features, target, alpha: float, beta: float) -> float:
    """Log density of N(0, I / beta + F F' / alpha) at the target, over n."""
    images = len(target)
    covariance = np.eye(images) / beta + features @ features.T / alpha
    _, logdet = np.linalg.slogdet(covariance)
    quadratic = target @ np.linalg.solve(covariance, target)
    return -0.5 * (images * math.log(2 * math.pi) + logdet + quadratic) / images


@pytest.mark.parametrize(("images", "width"), [(60, 5), (20, 40)])
def test_logme_is_the_largest_evidence_on_a_grid(images: int, width: int) -> None:
    features, labels = drawn(images, width, 3, signal=0.5)
    best = []
    for label in range(3):
        target = (labels == label).astype(float)
        grid = [
            direct_evidence(features, target, 10**a, 10**b)
            for a in np.linspace(-2, 5, 43)
            for b in np.linspace(-1, 4, 31)
        ]
        best.append(max(grid))
    found = logme(features, labels)
    assert np.mean(best) - 1e-9 <= found == pytest.approx(np.mean(best), abs=4e-3)


def test_logme_is_what_bayesian_ridge_reaches() -> None:
    features, labels = drawn(80, 6, 2, signal=0.4, seed=3)
    scores = []
    for label in range(2):
        ridge = BayesianRidge(
            fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, compute_score=True, tol=1e-9
        ).fit(features, (labels == label).astype(float))
        scores.append(ridge.scores_[-1] / 80)
    assert logme(features, labels) == pytest.approx(np.mean(scores), abs=1e-5)


def test_logme_of_features_that_say_nothing_is_that_of_noise_alone() -> None:
    labels = np.array([0, 0, 0, 1])
    shares = np.array([3 / 4, 1 / 4])
    expected = np.mean(-0.5 * (np.log(2 * np.pi * shares) + 1))
    assert logme(np.zeros((4, 3)), labels) == pytest.approx(expected, abs=1e-12)


def test_logme_does_not_depend_on_the_unit() -> None:
    features, labels = drawn(50, 8, 4)
    assert logme(features * 1e4, labels) == pytest.approx(logme(features, labels), abs=1e-6)


def test_h_score_by_hand() -> None:
    """Without shrinkage the four points give the trace of inv(diag(1, 1)) @ diag(1, 0) = 1."""
    features = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    labels = np.array([0, 0, 1, 1])
    # The covariance is the identity already, so that there is nothing to shrink.
    assert h_score(features, labels) == pytest.approx(1.0, abs=1e-12)
    # Twice as wide across the classes only: between / total stays 1 with all shrinkage s = 0 ...
    wide = features * np.array([2.0, 1.0])
    # ... but Ledoit and Wolf's is min(error, spread) / spread; variances 4 and 1, scale 2.5, squares 17:
    # spread (17 - 12.5) / 2 = 2.25, fourth 25, error (25 - 17) / 8 = 1, shrinkage 4 / 9.
    # kept (5/9) 4 = 20/9, added (4/9) 2.5 = 10/9, so 20 / 30.
    assert h_score(wide, labels) == pytest.approx(2 / 3, abs=1e-12)


@pytest.mark.parametrize(("images", "width"), [(60, 5), (15, 30)])
def test_h_score_is_the_formula_with_sklearns_shrunk_covariance(images: int, width: int) -> None:
    features, labels = drawn(images, width, 3, seed=1)
    shrunk = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(3)])[labels]
    between = np.cov(means, rowvar=False, bias=True)
    expected = np.trace(np.linalg.inv(shrunk.covariance_) @ ((1 - shrunk.shrinkage_) * between))
    assert 0 < shrunk.shrinkage_ < 1
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-9)


def test_neighbours_are_those_of_sklearn() -> None:
    features, labels = drawn(90, 10, 4, signal=0.5, seed=2)
    peer = KNeighborsClassifier(
        probes.NEIGHBOURS, metric="cosine", weights=lambda far: np.exp(-far / probes.TEMPERATURE)
    )
    predicted = cross_val_predict(peer, features, labels, cv=LeaveOneOut())
    expected = np.mean(predicted == labels)
    assert 0.4 < expected < 0.95
    assert nearest_neighbours(features, labels) == pytest.approx(expected, abs=1e-12)


def test_neighbours_that_tie_share_by_hand() -> None:
    """All features alike: three images see two of their own and two others, two see one and three."""
    labels = np.array([0, 0, 0, 1, 1])
    assert nearest_neighbours(np.ones((5, 2)), labels) == pytest.approx(3 * 0.5 / 5)


def test_the_linear_probe_is_logistic_regression_held_out_once() -> None:
    features, labels = drawn(80, 12, 3, signal=0.4, seed=5)
    parts = probes._parts(labels, np.random.default_rng(7))
    assert np.bincount(parts).tolist() == [20] * 4
    right = 0
    for part in range(4):
        scaler = StandardScaler().fit(features[parts != part])
        peer = LogisticRegression(C=probes.STRENGTH, tol=1e-8, max_iter=10_000)
        peer.fit(scaler.transform(features[parts != part]), labels[parts != part])
        right += (peer.predict(scaler.transform(features[parts == part])) == labels[parts == part]).sum()
    assert linear_probe(features, labels, seed=7) == pytest.approx(right / 80, abs=1.01 / 80)
    assert 0.5 < right / 80 < 1.0


def test_every_class_is_dealt_over_all_parts() -> None:
    labels = np.repeat([0, 1, 2], [9, 8, 1])
    parts = probes._parts(labels, np.random.default_rng(0))
    assert sorted(np.bincount(parts[:9]).tolist()) == [2, 2, 2, 3]
    assert np.bincount(parts[9:17]).tolist() == [2, 2, 2, 2]
    assert parts[17] == -1


LIKELY = np.array([[0.8, 0.2], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]])


def test_leep_by_hand() -> None:
    """P(z) = (.45, .55); P(0, z) = (1.4, .6) / 4 and P(1, z) = (.4, 1.6) / 4."""
    given_first, given_second = (1.4 / 1.8, 0.4 / 1.8), (0.6 / 2.2, 1.6 / 2.2)
    per_image = [
        given_first[0] * 0.8 + given_second[0] * 0.2,
        given_first[0] * 0.6 + given_second[0] * 0.4,
        given_first[1] * 0.1 + given_second[1] * 0.9,
        given_first[1] * 0.3 + given_second[1] * 0.7,
    ]
    expected = np.log(per_image).mean()
    assert leep(LIKELY, np.array([0, 0, 1, 1])) == pytest.approx(expected, abs=1e-12)


def test_nce_by_hand() -> None:
    """The head says 0, 0, 1, 1; of the labels 0, 0, 0, 1 the second pair is mixed: H(Y | Z) = log(2) / 2."""
    assert nce(LIKELY, np.array([0, 0, 0, 1])) == pytest.approx(-math.log(2) / 2, abs=1e-12)
    assert nce(LIKELY, np.array([0, 0, 1, 1])) == 0.0


def test_nce_goes_by_the_most_likely_class() -> None:
    source = np.array([[0.5, 0.1, 0.4], [0.5, 0.4, 0.1], [0.1, 0.5, 0.4], [0.4, 0.5, 0.1]])
    assert nce(source, np.array([0, 0, 1, 1])) == 0.0
    assert nce(source, np.array([0, 1, 1, 0])) == pytest.approx(-math.log(2), abs=1e-12)


def test_a_head_that_says_the_same_of_all_images_gives_the_entropy_of_the_labels() -> None:
    labels = np.array([0, 0, 0, 1])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    same = np.tile([0.5, 0.3, 0.2], (4, 1))
    assert leep(same, labels) == pytest.approx(-entropy, abs=1e-12)
    assert nce(same, labels) == pytest.approx(-entropy, abs=1e-12)


def test_real_images_are_better_told_apart_by_their_pixels_than_by_noise() -> None:
    scans = load_digits()
    features, labels = scans.data[:300], scans.target[:300]
    noise = np.random.default_rng(0).normal(size=features.shape)
    source = np.eye(10)[labels] * 0.9 + 0.01
    good = probe_scores(features, labels, source, seed=0)
    bad = probe_scores(noise, labels, np.full((300, 10), 0.1), seed=0)
    for name in ("logme", "h_score", "knn", "linear", "leep", "nce"):
        assert getattr(good, name) > getattr(bad, name) + 0.2, name
    assert good.knn > 0.9
    assert good.linear > 0.85
    assert max(bad.knn, bad.linear) < 0.25


@settings(max_examples=40, deadline=None)
@given(
    images=st.integers(2, 24),
    width=st.integers(1, 30),
    classes=st.integers(2, 6),
    rank=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
    scale=st.sampled_from([1e-200, 1e-6, 1.0, 1e200]),
)
def test_all_numbers_keep_their_ranges(
    images: int, width: int, classes: int, rank: int, seed: int, scale: float
) -> None:
    """Rank 0 are features that never change; with few images most classes have one."""
    generator = np.random.default_rng(seed)
    labels = np.concatenate([[0, 1], generator.integers(0, classes, images - 2)])
    features = generator.normal(size=(images, rank)) @ generator.normal(size=(rank, width)) + 0.1
    found = probe_scores(scale * features, labels, generator.dirichlet(np.ones(5), images), seed=seed)
    present = len(np.unique(labels))
    assert math.isfinite(found.logme)
    assert -1e-9 <= found.h_score <= present - 1 + 1e-9
    assert 0 <= found.knn <= 1
    assert 0 <= found.linear <= 1
    assert found.leep is not None
    assert found.nce is not None
    assert -math.log(images) - 1e-9 <= found.leep <= 0
    assert -math.log(present) - 1e-9 <= found.nce <= 0
    if rank == 0:
        assert found.h_score == 0.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), width=st.sampled_from([3, 40]))
def test_order_of_images_and_names_of_classes_say_nothing(seed: int, width: int) -> None:
    features, labels = drawn(24, width, 3, signal=0.5, seed=seed % 1000)
    features[3] = features[9]
    source = np.random.default_rng(seed).dirichlet(np.ones(4), 24)
    order = np.random.default_rng(seed).permutation(24)
    renamed = np.array([70, -2, 5])[labels]
    one, two = (
        probe_scores(features, labels, source, seed=0),
        probe_scores(features[order], renamed[order], source[order], seed=0),
    )
    for name in ("logme", "h_score", "knn", "leep", "nce"):
        assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-7), name


def test_a_seed_repeats_and_no_source_means_none() -> None:
    features, labels = drawn(40, 5, 2, signal=0.3)
    one = probe_scores(features, labels, seed=4)
    assert one == probe_scores(features, labels, seed=4)
    assert (one.leep, one.nce) == (None, None)
    assert len({linear_probe(features, labels, seed=seed) for seed in range(8)}) > 1


def test_images_alone_in_their_class_are_wrong() -> None:
    features = np.eye(4)
    found = probe_scores(features, np.arange(4), seed=0)
    assert (found.knn, found.linear) == (0.0, 0.0)


def test_bad_input_is_named() -> None:
    features, labels = drawn(10, 3, 2)
    with pytest.raises(UsageError, match=r"of shape \(images, features\), found \(10,\)"):
        probe_scores(features[:, 0], labels, seed=0)
    with pytest.raises(UsageError, match=r"found \(10, 0\)"):
        probe_scores(features[:, :0], labels, seed=0)
    with pytest.raises(UsageError, match=r"labels must be 10 integers.*float64"):
        probe_scores(features, labels.astype(float), seed=0)
    with pytest.raises(UsageError, match=r"labels must be 10 integers.*\(9,\)"):
        probe_scores(features, labels[:9], seed=0)
    with pytest.raises(UsageError, match="at least two classes, found 1"):
        probe_scores(features, np.zeros(10, int), seed=0)
    broken = features.copy()
    broken[4, 1] = np.nan
    broken[7, 0] = np.inf
    with pytest.raises(UsageError, match="NaN or infinity for 2 of 10 images, the first of them number 4"):
        probe_scores(broken, labels, seed=0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.full((9, 2), 0.5), r"of shape \(10, source classes\), found \(9, 2\)"),
        (np.full((10, 2), 0.6), "sum to 1"),
        (np.tile([1.5, -0.5], (10, 1)), "not be negative"),
        (np.full((10, 2), np.nan), "source probabilities must be finite"),
    ],
)
def test_bad_source_probabilities_are_named(source, message: str) -> None:
    features, labels = drawn(10, 3, 2)
    with pytest.raises(UsageError, match=message):
        probe_scores(features, labels, source, seed=0)
