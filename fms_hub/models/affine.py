"""Layers whose output is affine in their weights, told by their exact class: subclasses may do more."""

from __future__ import annotations

from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn

SamePadded: type[nn.Conv2d] = Conv2dSame
"""timm's convolution that pads by the size of its input, as TensorFlow's "SAME" does."""
CONVOLUTIONS: tuple[type[nn.Conv2d], ...] = (nn.Conv2d, SamePadded)


def same_padded(images: Tensor, conv: nn.Conv2d) -> Tensor:
    """Images (B, C, H, W) with the border of zeros that a `SamePadded` of this geometry adds to them."""
    padded: Tensor = pad_same(images, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
    return padded
