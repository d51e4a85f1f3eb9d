"""Optimisers of many networks at once, each with its own rate: the updates of torch.optim, stacked.

M = networks; a parameter is (M, ...).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
Gradients = Mapping[str, Tensor]

MOMENTUM = 0.9
_BETAS, _ALPHA, _EPSILON = (0.9, 0.999), 0.99, 1e-8


@dataclass(frozen=True)
class Rates:
    """Learning rate and weight decay of each network, (M,) each."""

    learning_rate: Tensor
    weight_decay: Tensor


class _Update:
    """Changes parameters in place by their gradients; decay is added to these (L2), as in torch.optim."""

    def __init__(self, parameters: Parameters, rates: Rates) -> None:
        self._parameters = parameters
        self._rates = rates
        self._steps = 0

    def __call__(self, gradients: Gradients) -> None:
        """Make one step."""
        self._steps += 1
        with torch.no_grad():
            for name, value in self._parameters.items():
                rate, decay = (
                    each.reshape(-1, *[1] * (value.ndim - 1))
                    for each in (self._rates.learning_rate, self._rates.weight_decay)
                )
                value -= rate * self._direction(name, gradients[name] + decay * value)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        raise NotImplementedError


class Momentum(_Update):
    """`torch.optim.SGD` with momentum."""

    def __init__(self, parameters: Parameters, rates: Rates) -> None:
        super().__init__(parameters, rates)
        self._velocity = _zeros(parameters)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        return self._velocity[name].mul_(MOMENTUM).add_(gradient)


class Adam(_Update):
    """`torch.optim.Adam`."""

    def __init__(self, parameters: Parameters, rates: Rates) -> None:
        super().__init__(parameters, rates)
        self._mean, self._square = _zeros(parameters), _zeros(parameters)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        first, second = _BETAS
        mean = self._mean[name].mul_(first).add_(gradient, alpha=1 - first)
        square = self._square[name].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        spread = (square / (1 - second**self._steps)).sqrt_().add_(_EPSILON)
        return mean / (1 - first**self._steps) / spread


class RMSprop(_Update):
    """`torch.optim.RMSprop`."""

    def __init__(self, parameters: Parameters, rates: Rates) -> None:
        super().__init__(parameters, rates)
        self._square = _zeros(parameters)

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        square = self._square[name].mul_(_ALPHA).addcmul_(gradient, gradient, value=1 - _ALPHA)
        return gradient / (square.sqrt() + _EPSILON)


UPDATES: Mapping[str, Callable[[Parameters, Rates], _Update]] = {
    "sgd": Momentum,
    "adam": Adam,
    "rmsprop": RMSprop,
}


def _zeros(parameters: Parameters) -> Parameters:
    return {name: torch.zeros_like(value) for name, value in parameters.items()}
