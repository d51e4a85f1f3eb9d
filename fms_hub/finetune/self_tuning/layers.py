"""Layers that know how their best weights move with the hyperparameters (MacKay et al., 2019).

y = W x + b + (V d) * (W' x) + (C d) * b', where d is how far an example's hyperparameters are from where they
started, W and b are the plain layer's own, and W', b', V and C are the response.

B = batch, R = rows of a layer's input, k = R / B of them an example, h = hyperparameters, O = outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fms_hub.errors import UsageError
from fms_hub.models.affine import SamePadded, same_padded


@dataclass(frozen=True)
class Setting:
    """What holds during one forward pass.

    Attributes:
        offsets: of each example's hyperparameters, (B, h).
        rates: dropout rates (B,) by name, in [0, 1); empty for a pass without dropout.
    """

    offsets: Tensor
    rates: Mapping[str, Tensor] = field(default_factory=dict)


class Signal:
    """Carries a setting from the network's wrapper to its layers, for the length of one forward pass."""

    def __init__(self) -> None:
        self._setting: Setting | None = None

    @contextmanager
    def carrying(self, setting: Setting) -> Iterator[None]:
        """Show the setting to all layers within the context."""
        self._setting = setting
        try:
            yield
        finally:
            self._setting = None

    @property
    def setting(self) -> Setting:
        """The setting of this forward pass.

        Raises:
            UsageError: no forward pass of the wrapper is under way.
        """
        if self._setting is None:
            raise UsageError(
                "a self-tuning layer was called outside its network; call the SelfTuning network, "
                "or fold it into a plain one first."
            )
        return self._setting


class Responsive(nn.Module):
    """What both kinds of layer share: parameters of the response, and what they make of offsets."""

    weight: Tensor
    bias: Any  # torch declares it a Tensor, and makes it None where there is no bias
    response_bias: nn.Parameter | None
    response_shift: nn.Parameter | None

    def _take_response(self, signal: Signal, hyperparameters: int, drop: str | None) -> None:
        """Make the weights drawn so far those of the response, with V = C = 0.

        So the layer begins as the plain one whatever the offsets are, and V and C have gradients at once: W'
        and b' are drawn as the class draws its own. If W' were zero too, nothing would ever move.
        """
        self.signal, self.drop = signal, drop
        self.response_weight = nn.Parameter(self.weight.detach().clone())
        self.response_gain = nn.Parameter(self.weight.new_zeros(len(self.weight), hyperparameters))
        if self.bias is None:
            self.register_parameter("response_bias", None)
            self.register_parameter("response_shift", None)
        else:
            self.response_bias = nn.Parameter(self.bias.detach().clone())
            self.response_shift = nn.Parameter(torch.zeros_like(self.response_gain))

    def _fill(self, plain: nn.Linear | nn.Conv2d) -> None:
        with torch.no_grad():
            self.weight.copy_(plain.weight)
            if self.bias is not None and plain.bias is not None:
                self.bias.copy_(plain.bias)
        self.train(plain.training)

    def gain(self, offsets: Tensor) -> Tensor:
        """V d, (B, O) of offsets (B, h)."""
        return F.linear(offsets, self.response_gain)

    def shift(self, offsets: Tensor) -> Tensor | None:
        """(C d) * b', (B, O) of offsets (B, h); None for a layer without bias."""
        if self.response_bias is None:
            return None
        assert self.response_shift is not None
        return F.linear(offsets, self.response_shift) * self.response_bias

    def squared_norm(self, offsets: Tensor) -> Tensor:
        """Squared norm of the effective weights, bias left out, (B,) of offsets (B, h)."""
        own, response = self.weight.flatten(1), self.response_weight.flatten(1)
        gain = self.gain(offsets)
        squares = own.square().sum(1) + 2 * gain * (own * response).sum(1)
        return (squares + gain.square() * response.square().sum(1)).sum(1)

    def _fill_folded(self, plain: nn.Linear | nn.Conv2d, offsets: Tensor) -> None:
        """Give a plain layer the effective weights at offsets (h,)."""
        row = offsets[None]
        with torch.no_grad():
            gain = self.gain(row)[0].reshape(-1, *(1,) * (self.weight.ndim - 1))
            plain.weight.copy_(self.weight + gain * self.response_weight)
            if self.bias is not None and plain.bias is not None:
                shift = self.shift(row)
                assert shift is not None
                plain.bias.copy_(self.bias + shift[0])
        plain.train(self.training)


class HyperLinear(Responsive, nn.Linear):
    """A linear layer with a response.

    Args:
        like: the plain layer whose function it begins with.
        signal: of the network that the layer belongs to.
        hyperparameters: h.
        drop: name of the dropout rate that applies to its input, or None.
    """

    def __init__(
        self, like: nn.Linear, *, signal: Signal, hyperparameters: int, drop: str | None = None
    ) -> None:
        super().__init__(
            like.in_features,
            like.out_features,
            like.bias is not None,
            device=like.weight.device,
            dtype=like.weight.dtype,
        )
        self._take_response(signal, hyperparameters, drop)
        self._fill(like)

    def forward(self, features: Tensor) -> Tensor:
        """Features (R, ..., inputs) to (R, ..., O); the rows of an example are next to each other."""
        setting = self.signal.setting
        features = dropped(features, setting, self.drop)
        plain = super().forward(features)
        response = F.linear(features, self.response_weight)
        shape = (len(plain), *(1,) * (plain.ndim - 2), self.out_features)
        answer: Tensor = plain + by_row(self.gain(setting.offsets), plain).reshape(shape) * response
        shift = self.shift(setting.offsets)
        return answer if shift is None else answer + by_row(shift, plain).reshape(shape)

    def folded(self, offsets: Tensor) -> nn.Linear:
        """The plain layer that does the same at offsets (h,)."""
        plain = nn.Linear(
            self.in_features,
            self.out_features,
            self.bias is not None,
            device=self.weight.device,
            dtype=self.weight.dtype,
        )
        self._fill_folded(plain, offsets)
        return plain


class HyperConv2d(Responsive, nn.Conv2d):
    """A convolution with a response.

    Args:
        like: the plain layer, one of `fms_hub.models.affine.CONVOLUTIONS`, whose function it begins with.
        signal: of the network that the layer belongs to.
        hyperparameters: h.
        drop: name of the dropout rate that applies to its input, or None.
    """

    def __init__(
        self, like: nn.Conv2d, *, signal: Signal, hyperparameters: int, drop: str | None = None
    ) -> None:
        super().__init__(**_geometry(like), padding_mode=like.padding_mode)
        self.plain_class = type(like)
        self._take_response(signal, hyperparameters, drop)
        self._fill(like)

    def forward(self, images: Tensor) -> Tensor:
        """Images (R, C, H, W) to (R, O, H', W'); the rows of an example are next to each other."""
        setting = self.signal.setting
        images = dropped(images, setting, self.drop)
        if self.plain_class is SamePadded:
            images = same_padded(images, self)
        plain = self._conv_forward(images, self.weight, self.bias)
        response = self._conv_forward(images, self.response_weight, None)
        answer: Tensor = plain + by_row(self.gain(setting.offsets), plain)[:, :, None, None] * response
        shift = self.shift(setting.offsets)
        return answer if shift is None else answer + by_row(shift, plain)[:, :, None, None]

    def folded(self, offsets: Tensor) -> nn.Conv2d:
        """The plain layer of the original class that does the same at offsets (h,)."""
        if self.plain_class is SamePadded:
            plain = SamePadded(**_geometry(self))
        else:
            plain = nn.Conv2d(**_geometry(self), padding_mode=self.padding_mode)
        self._fill_folded(plain, offsets)
        return plain


def by_row(values: Tensor, output: Tensor) -> Tensor:
    """What belongs to examples, (B, ...), repeated for the rows of a layer's output, (R, ...).

    Raises:
        UsageError: R is no multiple of B.
    """
    examples, rows = len(values), len(output)
    if rows % examples:
        raise UsageError(
            f"a layer's rows must come in equal numbers for each of {examples} examples, found {rows}. "
            "Leave this layer as it is."
        )
    return values if rows == examples else values.repeat_interleave(rows // examples, dim=0)


def dropped(inputs: Tensor, setting: Setting, rate: str | None) -> Tensor:
    """Inputs (R, ...) with features dropped at each example's own rate; as they are where no rate applies.

    Draws from the device's global generator, as every dropout of torch does.
    """
    if rate is None or rate not in setting.rates:
        return inputs
    rates = by_row(setting.rates[rate], inputs).to(inputs.dtype)
    rates = rates.reshape(-1, *(1,) * (inputs.ndim - 1))
    return inputs * (torch.rand_like(inputs) >= rates) / (1 - rates)


def _geometry(conv: nn.Conv2d) -> dict[str, Any]:
    """What makes a convolution of the same shape on the same device, but for the mode of its padding."""
    return {
        "in_channels": conv.in_channels,
        "out_channels": conv.out_channels,
        "kernel_size": conv.kernel_size,
        "stride": conv.stride,
        "padding": conv.padding,
        "dilation": conv.dilation,
        "groups": conv.groups,
        "bias": conv.bias is not None,
        "device": conv.weight.device,
        "dtype": conv.weight.dtype,
    }
