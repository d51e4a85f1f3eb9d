"""From PIL images to the pixels a network sees.

B = batch, S = height and width in pixels. Images become uint8 (3, S, S) on the CPU, where they are small
enough to be kept and quick to move, and floats only as a batch on the device.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from PIL.Image import Image
from timm.data.random_erasing import RandomErasing
from timm.data.transforms_factory import create_transform
from torch import Tensor

from fms_hub.models.model import InputSpec

Transform = Callable[[Image], Tensor]


def evaluation_transform(spec: InputSpec) -> Transform:
    """Resize and centre crop: an RGB image of any size to uint8 (3, S, S)."""
    transform: Transform = create_transform(
        input_size=(3, spec.size, spec.size),
        interpolation=spec.interpolation,
        crop_pct=spec.crop,
        use_prefetcher=True,
    )
    return transform


def training_transform(spec: InputSpec, strength: float) -> Transform:
    """Random views of an RGB image as uint8 (3, S, S); at strength 0 the evaluation transform.

    With the strength a the crop covers at least 1 - 0.6 a of the area (Szegedy et al., 2015), a mirror image
    has probability 0.2 a (characters must stay readable), and each of RandAugment's two operations (Cubuk et
    al., 2020; colour, contrast and brightness jitter are among them) has probability 0.5 a and magnitude 9 a.

    Args:
        spec: what the network expects.
        strength: in [0, 1].
    """
    if strength == 0:
        return evaluation_transform(spec)
    stretch = (4 / 3) ** strength
    magnitude = round(9 * strength)
    transform: Transform = create_transform(
        input_size=(3, spec.size, spec.size),
        is_training=True,
        scale=(1 - 0.6 * strength, 1.0),
        ratio=(1 / stretch, stretch),
        hflip=0.2 * strength,
        # mmax9: with noise, magnitude 10 would posterise to 0 bits, which Pillow refuses.
        auto_augment=f"rand-m{magnitude}-mmax9-n2-p{0.5 * strength:.4f}-mstd0.5-inc1",
        interpolation=spec.interpolation,
        mean=spec.mean,
        use_prefetcher=True,
    )
    return transform


def normalised(pixels: Tensor, spec: InputSpec, device: torch.device) -> Tensor:
    """uint8 (B, 3, S, S) to float32 on the device, zero mean and unit deviation per channel."""
    floats = pixels.to(device, non_blocking=True).float()
    mean = torch.tensor(spec.mean, device=device).mul(255).view(1, -1, 1, 1)
    std = torch.tensor(spec.std, device=device).mul(255).view(1, -1, 1, 1)
    return floats.sub_(mean).div_(std)


def erase(pixels: Tensor, strength: float, seed: int) -> None:
    """Blank a random rectangle, in place, in a fraction 0.25 `strength` of a normalised batch (B, 3, S, S).

    Zhong et al., 2017. Draws from python's global generator, seeded here.
    """
    if strength == 0:
        return
    random.seed(seed)
    RandomErasing(0.25 * strength, device=pixels.device)(pixels)
