from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from fms_hub.finetune.transforms import erase, evaluation_transform, normalised, training_transform
from fms_hub.models.model import InputSpec
from fms_hub.seeding import seeded

SPEC = InputSpec(16, (0.5, 0.25, 0.0), (0.5, 0.5, 1.0), "bilinear", 1.0)


def picture(height: int = 16, width: int = 16) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_an_image_of_the_networks_size_passes_unchanged():
    image = picture()
    found = evaluation_transform(SPEC)(image)
    assert found.dtype == torch.uint8
    assert torch.equal(found, torch.from_numpy(np.array(image)).permute(2, 0, 1))


def test_other_sizes_are_resized_and_cropped():
    spec = InputSpec(16, SPEC.mean, SPEC.std, "bicubic", 0.5)
    found = evaluation_transform(spec)(picture(64, 128))
    expected = picture(64, 128).resize((64, 32), Image.Resampling.BICUBIC).crop((24, 8, 40, 24))
    assert torch.equal(found, torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_strength_zero_is_the_evaluation_transform():
    image = picture(40, 24)
    assert torch.equal(training_transform(SPEC, 0.0)(image), evaluation_transform(SPEC)(image))


def test_views_differ_more_the_stronger_the_augmentation():
    image = picture()
    plain = evaluation_transform(SPEC)(image).float()
    distances = []
    for strength in (0.1, 0.5, 1.0):
        with seeded(0):
            views = torch.stack([training_transform(SPEC, strength)(image) for _ in range(100)]).float()
        assert views.shape == (100, 3, 16, 16)
        distances.append(float((views - plain).abs().mean()))
    assert 0 < distances[0] < distances[1] < distances[2]


def test_mirror_images_are_rare_even_at_full_strength():
    image = Image.fromarray(np.repeat([[0, 255]], 16, axis=0).repeat(8, axis=1).astype(np.uint8)).convert(
        "RGB"
    )
    with seeded(0):
        views = torch.stack([training_transform(SPEC, 1.0)(image) for _ in range(200)]).float()
    left_is_brighter = (views[..., :4].mean((1, 2, 3)) > views[..., -4:].mean((1, 2, 3))).float().mean()
    assert 0.05 < float(left_is_brighter) < 0.4


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.95, 1.0])
def test_no_strength_and_no_seed_breaks_the_transform(strength):
    transform = training_transform(SPEC, strength)
    with seeded(1):
        assert all(transform(picture()).shape == (3, 16, 16) for _ in range(300))


def test_normalisation_by_hand():
    pixels = torch.tensor([0, 255, 51], dtype=torch.uint8).reshape(1, 3, 1, 1)
    found = normalised(pixels, SPEC, torch.device("cpu")).flatten()
    assert found.tolist() == pytest.approx([-1.0, 1.5, 0.2])


def test_erasing_blanks_a_rectangle_in_some_images_and_repeats():
    batch = torch.ones(400, 3, 16, 16)
    erase(batch, 1.0, seed=7)
    touched = (batch == 0).any(1).flatten(1).any(1)
    assert 0.15 < float(touched.float().mean()) < 0.35
    again = torch.ones(400, 3, 16, 16)
    erase(again, 1.0, seed=7)
    assert torch.equal(batch, again)
    erase(again, 0.0, seed=8)
    assert torch.equal(batch, again)
