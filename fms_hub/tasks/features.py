"""Meta-features: a dataset in a few finite numbers that two similar datasets share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fms_hub.tasks.images import Images, ShrunkImages

# Pixel statistics are taken at this shorter side, so that they do not depend on the camera.
_SIDE = 64
_HISTOGRAM_BINS = 32
_EDGE = 0.1
_GRAY_TOLERANCE = 2 / 255

_LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue, ITU-R BT.601."""


def meta_features(
    images: Images,
    labels: NDArray[np.int64],
    classes: int,
    sizes: NDArray[np.int64],
    *,
    seed: int = 0,
    sample: int = 200,
) -> dict[str, float]:
    """Describe the training images of a task.

    Pixel values lie in [0, 1]; pixel features are means over a seeded sample of images, each with its
    shorter side reduced to at most 64 pixels. Luminance is Y of ITU-R BT.601. ``colourfulness`` is M of
    Hasler and Suesstrunk, "Measuring colourfulness in natural images", 2003, for values in [0, 1].

    Args:
        images: n training images, n >= 1.
        labels: class indices, shape (n,).
        classes: number of classes, >= 2.
        sizes: width and height of the images in pixels, shape (n, 2).
        seed: of the sample.
        sample: most images to look at, >= 1.

    Returns:
        - ``log_images``, ``log_classes``, ``log_images_per_class``: natural logarithms of n, of the number of
          classes and of their quotient; >= 0, > 0, any.
        - ``balance``: entropy of the class frequencies over its maximum; [0, 1], 1 = all equally frequent.
        - ``log_side``: median logarithm of the shorter side in pixels; >= 0.
        - ``log_aspect``: median logarithm of width over height; 0 = square.
        - ``gray_fraction``: share of images without colour; [0, 1].
        - ``mean_red``, ``mean_green``, ``mean_blue``: [0, 1]; ``std_red`` ...: over all pixels, [0, 0.5].
        - ``saturation``: largest minus smallest channel; [0, 1].
        - ``colourfulness``: [0, 1.9].
        - ``contrast``: standard deviation of luminance within an image; [0, 0.5].
        - ``brightness_spread``: standard deviation of mean luminance between images; [0, 0.5].
        - ``luminance_entropy``: of the 32-bin histogram over its maximum; [0, 1].
        - ``edge_strength``: length of the luminance gradient between neighbouring pixels; [0, 1.42].
        - ``edge_density``: share of pixels where it exceeds 0.1; [0, 1].
        - ``edge_horizontality``: share of the squared gradient across columns; [0, 1], 0.5 without edges.
    """
    chosen = np.random.default_rng(seed).permutation(len(images))[:sample]
    small = ShrunkImages(images, _SIDE)
    rows = [_of_image(np.asarray(small[int(i)], dtype=np.float64) / 255) for i in np.sort(chosen)]
    return _of_labels(labels, classes) | _of_sizes(sizes) | _pooled(rows)


def _of_labels(labels: NDArray[np.int64], classes: int) -> dict[str, float]:
    shares = np.bincount(labels, minlength=classes) / len(labels)
    present = shares[shares > 0]
    entropy = -float(np.sum(present * np.log(present)))
    return {
        "log_images": math.log(len(labels)),
        "log_classes": math.log(classes),
        "log_images_per_class": math.log(len(labels) / classes),
        "balance": min(1.0, max(0.0, entropy / math.log(classes))),
    }


def _of_sizes(sizes: NDArray[np.int64]) -> dict[str, float]:
    logs = np.log(sizes)
    return {
        "log_side": float(np.median(logs.min(axis=1))),
        "log_aspect": float(np.median(logs[:, 0] - logs[:, 1])),
    }


def _of_image(rgb: NDArray[np.float64]) -> dict[str, float]:
    """Statistics of one image, (h, w, 3) in [0, 1], whose means over images make the features."""
    red, green, blue = (rgb[..., channel] for channel in range(3))
    spread = rgb.max(axis=2) - rgb.min(axis=2)
    luminance = rgb @ _LUMINANCE
    row = {
        "gray_fraction": float(spread.mean() <= _GRAY_TOLERANCE),
        "saturation": float(spread.mean()),
        "colourfulness": _colourfulness(red, green, blue),
        "contrast": float(luminance.std()),
        "luminance": float(luminance.mean()),
        "luminance_entropy": _histogram_entropy(luminance),
    }
    for name, channel in (("red", red), ("green", green), ("blue", blue)):
        row[f"mean_{name}"] = float(channel.mean())
        row[f"square_{name}"] = float((channel**2).mean())
    return row | _edges(luminance)


def _colourfulness(red: NDArray[np.float64], green: NDArray[np.float64], blue: NDArray[np.float64]) -> float:
    red_green, yellow_blue = red - green, (red + green) / 2 - blue
    deviation = math.hypot(red_green.std(), yellow_blue.std())
    return deviation + 0.3 * math.hypot(red_green.mean(), yellow_blue.mean())


def _histogram_entropy(luminance: NDArray[np.float64]) -> float:
    counts, _ = np.histogram(luminance, bins=_HISTOGRAM_BINS, range=(0.0, 1.0 + 1e-9))
    shares = counts[counts > 0] / luminance.size
    return float(-np.sum(shares * np.log(shares)) / math.log(_HISTOGRAM_BINS)) + 0.0


def _edges(luminance: NDArray[np.float64]) -> dict[str, float]:
    across, down = np.diff(luminance, axis=1)[:-1], np.diff(luminance, axis=0)[:, :-1]
    if across.size == 0:
        return {"edge_strength": 0.0, "edge_density": 0.0, "edge_horizontality": 0.5}
    length = np.hypot(across, down)
    energy = float((length**2).sum())
    return {
        "edge_strength": float(length.mean()),
        "edge_density": float((length > _EDGE).mean()),
        "edge_horizontality": float((across**2).sum()) / energy if energy > 0 else 0.5,
    }


def _pooled(rows: list[dict[str, float]]) -> dict[str, float]:
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    for name in ("red", "green", "blue"):
        variance = means.pop(f"square_{name}") - means[f"mean_{name}"] ** 2
        means[f"std_{name}"] = math.sqrt(max(0.0, variance))
    del means["luminance"]
    means["brightness_spread"] = float(np.std([row["luminance"] for row in rows]))
    return means
