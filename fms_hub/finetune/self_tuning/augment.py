"""Augmentation of a batch, each image at its own strengths, on the device.

B = batch, S = height and width in pixels. Nothing here needs a gradient.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey of ITU-R BT.601."""


def jittered(images: Tensor, strengths: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order; what has no strength stays.

    Args:
        images: in [0, 1], (B, 3, S, S).
        strengths: (B,) by name, see `fms_hub.finetune.self_tuning.hyperparameters.TUNABLES`.
        generator: on the CPU, so that all devices draw the same.

    Returns:
        New images in [0, 1].
    """
    changes = {"brightness": brightened, "contrast": contrasted, "saturation": saturated, "hue": hue_turned}
    for name, change in changes.items():
        if name in strengths:
            draw = (2 * torch.rand(len(images), generator=generator) - 1).to(images.device)
            amount = draw * strengths[name]
            images = change(images, amount if name == "hue" else 1 + amount)
    return images


def brightened(images: Tensor, factors: Tensor) -> Tensor:
    """Images (B, 3, S, S) times factors (B,) >= 0."""
    return (images * factors[:, None, None, None]).clamp(0, 1)


def contrasted(images: Tensor, factors: Tensor) -> Tensor:
    """Images drawn from their own mean grey by factors (B,) >= 0; at 0 they are that grey."""
    mean = _grey(images).mean(dim=(2, 3), keepdim=True)
    return torch.lerp(mean.expand_as(images), images, factors[:, None, None, None]).clamp(0, 1)


def saturated(images: Tensor, factors: Tensor) -> Tensor:
    """Images drawn from their grey version by factors (B,) >= 0; at 0 they are grey."""
    return torch.lerp(_grey(images).expand_as(images), images, factors[:, None, None, None]).clamp(0, 1)


def hue_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Images with their hue, of HSV (Smith, 1978), moved by turns (B,) of the whole circle."""
    high, low = images.amax(dim=1), images.amin(dim=1)
    span = high - low
    hue = (_sixths(images, high, span) + 6 * turns[:, None, None]) % 6
    # Each channel falls and rises with the distance of the hue from where it is full.
    channels = [((hue - full) % 6 - 3).abs() - 1 for full in (0.0, 2.0, 4.0)]
    return low[:, None] + span[:, None] * torch.stack(channels, dim=1).clamp(0, 1)


def cut_out(images: Tensor, lengths: Tensor, numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Set squares to zero, the mean of normalised images (DeVries and Taylor, 2017).

    Args:
        images: normalised, (B, C, S, S).
        lengths: side of the squares as a share of S, (B,); rounded to whole pixels.
        numbers: of squares, whole, (B,).
        generator: of the centres, on the CPU; squares may overlap, and reach over the border.
    """
    examples, most = len(images), max(int(numbers.max()), 1)
    height, width = images.shape[-2:]
    centres = torch.rand(2, examples, most, generator=generator).to(images.device)
    pixels = (lengths * width).round()
    active = torch.arange(most, device=images.device) < numbers[:, None]
    rows = _covered(centres[0] * height, pixels, height) & active[:, :, None]
    columns = _covered(centres[1] * width, pixels, width)
    hidden = (rows[:, :, :, None] & columns[:, :, None, :]).any(dim=1)
    return images.masked_fill(hidden[:, None], 0.0)


def _covered(centres: Tensor, lengths: Tensor, size: int) -> Tensor:
    """Which positions lie in the stretch of a length (B,) around each centre (B, N): (B, N, size)."""
    begin = (centres.floor() - (lengths[:, None] / 2).floor())[:, :, None]
    position = torch.arange(size, device=centres.device)
    return (position >= begin) & (position < begin + lengths[:, None, None])


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype)[:, None, None]
    return (images * weights).sum(dim=1, keepdim=True)


def _sixths(images: Tensor, high: Tensor, span: Tensor) -> Tensor:
    """Hue in [-1, 5): 0 is red, 2 green, 4 blue; 0 for grey."""
    red, green, blue = images.unbind(dim=1)
    safe = torch.where(span > 0, span, 1.0)
    of_red, of_green, of_blue = (green - blue) / safe, (blue - red) / safe + 2, (red - green) / safe + 4
    return torch.where(high == red, of_red, torch.where(high == green, of_green, of_blue))
