"""Meta-features are finite, within their documented ranges, and say what they claim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fms_hub.tasks.features import meta_features
from fms_hub.tasks.images import ArrayImages

RANGES = {
    "log_images": (0, math.inf),
    "log_classes": (math.log(2), math.inf),
    "log_images_per_class": (-math.inf, math.inf),
    "balance": (0, 1),
    "log_side": (0, math.inf),
    "log_aspect": (-math.inf, math.inf),
    "gray_fraction": (0, 1),
    **{f"mean_{colour}": (0, 1) for colour in ("red", "green", "blue")},
    **{f"std_{colour}": (0, 0.5) for colour in ("red", "green", "blue")},
    "saturation": (0, 1),
    "colourfulness": (0, 1.9),
    "contrast": (0, 0.5),
    "brightness_spread": (0, 0.5),
    "luminance_entropy": (0, 1),
    "edge_strength": (0, 1.42),
    "edge_density": (0, 1),
    "edge_horizontality": (0, 1),
}


def describe(pixels: NDArray[np.uint8], labels: list[int] | None = None, **options: int) -> dict[str, float]:
    chosen = np.arange(len(pixels)) % 2 if labels is None else np.array(labels)
    sizes = np.tile([pixels.shape[2], pixels.shape[1]], (len(pixels), 1))
    return meta_features(ArrayImages(pixels), chosen, 2, sizes, **options)


def flat(*colours: tuple[int, int, int], side: int = 6) -> NDArray[np.uint8]:
    return np.tile(np.array(colours, dtype=np.uint8)[:, None, None], (1, side, side, 1))


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    levels=st.sampled_from([1, 2, 256]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_all_are_finite_and_in_range(shape: tuple[int, int, int], levels: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    pixels = (generator.integers(0, levels, (*shape, 3)) * (255 // max(1, levels - 1))).astype(np.uint8)
    features = describe(pixels)
    assert features.keys() == RANGES.keys()
    for name, value in features.items():
        low, high = RANGES[name]
        assert type(value) is float
        assert math.isfinite(value)
        assert low - 1e-9 <= value <= high + 1e-9, name


def test_counts_and_balance(scans: NDArray[np.uint8]) -> None:
    even = describe(scans[:8])
    assert even["log_images"] == pytest.approx(math.log(8))
    assert even["log_images_per_class"] == pytest.approx(math.log(4))
    assert even["balance"] == pytest.approx(1)
    skewed = describe(scans[:8], [0] * 6 + [1] * 2)
    assert skewed["balance"] == pytest.approx(-(0.75 * math.log2(0.75) + 0.25 * math.log2(0.25)))


def test_side_and_aspect(scans: NDArray[np.uint8]) -> None:
    wide = describe(np.repeat(scans[:4], 3, axis=2))
    assert wide["log_side"] == pytest.approx(math.log(8))
    assert wide["log_aspect"] == pytest.approx(math.log(3))


def test_gray_scans_have_no_colour(scans: NDArray[np.uint8]) -> None:
    features = describe(scans[:50])
    assert (features["gray_fraction"], features["saturation"], features["colourfulness"]) == (1, 0, 0)
    assert features["mean_red"] == features["mean_blue"] == pytest.approx(scans[:50].mean() / 255)
    assert features["std_green"] == pytest.approx(scans[:50].std() / 255)


def test_flat_colours() -> None:
    features = describe(flat((255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)))
    assert features["gray_fraction"] == features["saturation"] == 0.5
    assert (features["mean_red"], features["mean_green"], features["mean_blue"]) == (0.5, 0.25, 0.5)
    assert features["std_red"] == pytest.approx(0.5)
    assert features["contrast"] == pytest.approx(0)
    assert features["edge_strength"] == features["edge_density"] == 0
    assert features["edge_horizontality"] == 0.5
    assert features["brightness_spread"] == pytest.approx(np.std([0.299, 0.114, 1, 0]))
    # Hasler and Suesstrunk by hand: red has R-G = 1, (R+G)/2-B = 0.5; blue 0 and -1; white and black 0 and 0.
    assert features["colourfulness"] == pytest.approx(0.3 * (math.hypot(1, 0.5) + 1) / 4)


def test_colourfulness_counts_deviations() -> None:
    halves = flat((255, 0, 0))
    halves[:, :, 3:] = 0
    assert describe(halves)["colourfulness"] == pytest.approx(
        math.hypot(0.5, 0.25) + 0.3 * math.hypot(0.5, 0.25)
    )


def test_edges_and_their_direction() -> None:
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (2, 8, 4))
    upright, lying = describe(stripes), describe(stripes.transpose(0, 2, 1))
    assert upright["edge_strength"] == pytest.approx(1)
    assert upright["edge_density"] == 1
    assert (upright["edge_horizontality"], lying["edge_horizontality"]) == (1, 0)
    assert upright["contrast"] == pytest.approx(0.5)


def test_entropy_of_the_luminance() -> None:
    assert describe(flat((9, 9, 9)))["luminance_entropy"] == 0
    ramp = np.arange(0, 256, dtype=np.uint8).reshape(1, 16, 16)
    assert describe(ramp)["luminance_entropy"] == pytest.approx(1)


def test_at_most_the_sample_is_looked_at(scans: NDArray[np.uint8]) -> None:
    class Counted:
        """Images that remember which of them were asked for."""

        def __init__(self) -> None:
            self.images = ArrayImages(scans[:300])
            self.seen: list[int] = []

        def __len__(self) -> int:
            return len(self.images)

        def __getitem__(self, i: int):
            self.seen.append(i)
            return self.images[i]

    seen = []
    for seed in (5, 5, 6):
        images = Counted()
        meta_features(images, np.arange(300) % 2, 2, np.full((300, 2), 8), seed=seed)
        seen.append(images.seen)
        assert len(set(images.seen)) == len(images.seen) == 200
    assert seen[0] == seen[1] != seen[2]
