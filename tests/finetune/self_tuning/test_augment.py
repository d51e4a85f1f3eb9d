from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import functional as reference

from fms_hub.finetune.self_tuning.augment import (
    brightened,
    contrasted,
    cut_out,
    hue_turned,
    jittered,
    saturated,
)

IMAGES = torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(0))
IMAGES[3] = IMAGES[3, :1]  # grey
FACTORS = torch.tensor([0.0, 0.5, 1.0, 1.7])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (brightened, reference.adjust_brightness),
        (contrasted, reference.adjust_contrast),
        (saturated, reference.adjust_saturation),
    ],
)
def test_each_image_is_changed_as_torchvision_changes_it_alone(ours, theirs):
    expected = torch.stack([theirs(i, float(f)) for i, f in zip(IMAGES, FACTORS, strict=True)])
    torch.testing.assert_close(ours(IMAGES, FACTORS), expected, rtol=0, atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=4, max_size=4))
def test_each_hue_is_turned_as_torchvision_turns_it_alone(turns):
    expected = torch.stack([reference.adjust_hue(i, t) for i, t in zip(IMAGES, turns, strict=True)])
    torch.testing.assert_close(hue_turned(IMAGES, torch.tensor(turns)), expected, rtol=0, atol=1e-4)


def test_strength_zero_changes_nothing_and_each_image_has_its_own_strength():
    strengths = {name: torch.zeros(4) for name in ("brightness", "contrast", "saturation", "hue")}
    still = jittered(IMAGES, strengths, torch.Generator().manual_seed(0))
    torch.testing.assert_close(still, IMAGES, rtol=0, atol=1e-5)
    assert jittered(IMAGES, {"dropout": torch.ones(4)}, torch.Generator()) is IMAGES
    strengths["brightness"] = torch.tensor([0.0, 0.9, 0.0, 0.9])
    moved = jittered(IMAGES, strengths, torch.Generator().manual_seed(0))
    change = (moved - IMAGES).abs().amax(dim=(1, 2, 3))
    assert (change > 0.05).tolist() == [False, True, False, True]
    assert float(moved.min()) >= 0
    assert float(moved.max()) <= 1


def test_factors_fill_the_range_of_the_strength():
    grey = torch.full((4000, 3, 1, 1), 0.5)
    found = jittered(grey, {"brightness": torch.full((4000,), 0.4)}, torch.Generator().manual_seed(1))
    factors = found[:, 0, 0, 0] / 0.5
    assert float(factors.min()) == pytest.approx(0.6, abs=0.01)
    assert float(factors.max()) == pytest.approx(1.4, abs=0.01)
    assert float(factors.mean()) == pytest.approx(1.0, abs=0.02)


def test_squares_have_the_asked_side_and_number():
    images = torch.ones(400, 3, 20, 20)
    lengths = torch.tensor([0.25, 0.25, 0.0, 0.5]).repeat(100)
    numbers = torch.tensor([1.0, 0.0, 3.0, 2.0]).repeat(100)
    found = cut_out(images, lengths, numbers, torch.Generator().manual_seed(0))
    assert torch.equal(found[:, 0], found[:, 2])
    hidden = (found[:, 0] == 0).sum(dim=(1, 2)).reshape(100, 4)
    assert int(hidden[:, 0].max()) == 25
    assert int(hidden[:, 0].min()) >= 9  # a corner of it at least: centres lie within the image
    assert int(hidden[:, 1:3].sum()) == 0
    assert 100 < int(hidden[:, 3].max()) <= 200
    rows = (found[::4, 0] == 0).any(dim=2).sum(dim=1)
    assert int(rows.max()) == 5
    assert torch.equal(images, torch.ones_like(images))
