"""From a plain network to one whose layers respond to hyperparameters, and back.

B = batch.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.errors import UsageError
from fms_hub.finetune.self_tuning.layers import HyperConv2d, HyperLinear, Signal
from fms_hub.models.affine import CONVOLUTIONS
from fms_hub.models.model import evaluating

PlainLayer = nn.Linear | nn.Conv2d
_PARAMETRIC = (
    nn.Linear,
    nn.Bilinear,
    nn.modules.conv._ConvNd,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)


@dataclass(frozen=True)
class Convertible:
    """Which layers of a network can be given a response.

    Attributes:
        layers: by path, in the order of the module.
        left: paths of trained layers that stay as they are, each with the reason.
    """

    layers: Mapping[str, PlainLayer]
    left: Mapping[str, str]


def convertible(module: nn.Module, examples: Tensor) -> Convertible:
    """Find the layers that can respond for each example by itself.

    Such a layer is exactly a `torch.nn.Linear` or one of `fms_hub.models.affine.CONVOLUTIONS`, shares its
    weights with no other, has no hooks, is trained, and is called with rows that belong to one example each,
    those of an example next to each other. The last is tried out: by one forward pass of three examples, and
    one without the second of them.

    Args:
        module: the network; its mode and statistics stay as they are.
        examples: three inputs that differ, (3, ...).

    Raises:
        UsageError: there are not three.
    """
    if len(examples) != 3:
        raise UsageError(f"finding the layers to convert takes three examples, found {len(examples)}.")
    uses = Counter(id(parameter) for part in module.modules() for parameter in part._parameters.values())
    layers: dict[str, PlainLayer] = {}
    left: dict[str, str] = {}
    for path, part in module.named_modules():
        trained = [parameter.requires_grad for parameter in part.parameters(recurse=False)]
        if not any(trained) or not isinstance(part, _PARAMETRIC):
            continue
        if type(part) is not nn.Linear and type(part) not in CONVOLUTIONS:
            left[path] = type(part).__name__
        elif uses[id(part.weight)] > 1:
            left[path] = "shares its weights"
        elif not all(trained):
            left[path] = "is frozen in part"
        elif part._forward_hooks or part._forward_pre_hooks:
            left[path] = "has hooks"
        else:
            assert isinstance(part, PlainLayer)
            layers[path] = part
    mixed = _not_by_example(module, layers, examples)
    return Convertible({path: layer for path, layer in layers.items() if path not in mixed}, left | mixed)


def converted(
    module: nn.Module,
    layers: Mapping[str, PlainLayer],
    signal: Signal,
    hyperparameters: int,
    rates: Mapping[str, str],
) -> nn.Module:
    """A copy of a network whose given layers respond; its function is the same.

    Args:
        module: left as it is.
        layers: of the module, by path.
        signal: through which the layers hear of their hyperparameters.
        hyperparameters: how many there are.
        rates: the dropout rate that applies to the input of a layer, by path.
    """
    twins: dict[int, nn.Module] = {}
    for path, layer in layers.items():
        twins[id(layer)] = _twin(layer, signal, hyperparameters, rates.get(path))
    # deepcopy takes what its memo holds for a copy that has been made, in all places that refer to it.
    whole: nn.Module = copy.deepcopy(module, dict(twins))
    return whole


def folded(module: nn.Module, offsets: Tensor) -> nn.Module:
    """A plain copy of a converted network that does the same at offsets (h,) of the hyperparameters."""
    twins: dict[int, nn.Module] = {
        id(layer): layer.folded(offsets) for layer in module.modules() if isinstance(layer, Hyper)
    }
    whole: nn.Module = copy.deepcopy(module, dict(twins))
    return whole


Hyper = HyperLinear | HyperConv2d


def _twin(layer: PlainLayer, signal: Signal, hyperparameters: int, rate: str | None) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return HyperLinear(layer, signal=signal, hyperparameters=hyperparameters, drop=rate)
    return HyperConv2d(layer, signal=signal, hyperparameters=hyperparameters, drop=rate)


def _not_by_example(module: nn.Module, layers: Mapping[str, PlainLayer], examples: Tensor) -> dict[str, str]:
    """Paths of layers whose rows are not those of one example each, with the reason."""
    three, two = (_seen(module, layers, examples[rows]) for rows in ([0, 1, 2], [0, 2]))
    return {
        path: "does not see each example by itself" if three[path] else "is never called"
        for path in layers
        if not _by_example(three[path], two[path])
    }


def _seen(module: nn.Module, layers: Mapping[str, PlainLayer], examples: Tensor) -> dict[str, list[Tensor]]:
    """The inputs of each layer's calls during a forward pass."""
    seen: dict[str, list[Tensor]] = {path: [] for path in layers}
    with ExitStack() as stack, evaluating(module):
        for path, layer in layers.items():
            handle = layer.register_forward_pre_hook(_keeper(seen[path]))
            stack.callback(handle.remove)
        module(examples)
    return seen


def _keeper(inputs: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def keep(layer: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        inputs.append(arguments[0].clone())

    return keep


def _by_example(three: Sequence[Tensor], two: Sequence[Tensor]) -> bool:
    """Whether in all calls the rows of the first and the last example are what they are without a second."""
    if not three or len(three) != len(two):
        return False
    for more, fewer in zip(three, two, strict=True):
        rows, rest = divmod(len(fewer), 2)
        if fewer.ndim < 2 or rest or more.shape != (3 * rows, *fewer.shape[1:]):
            return False
        tolerance = 1e-4 * more.abs().amax()
        moved = torch.cat([more[:rows], more[2 * rows :]]) - fewer
        if bool((moved.abs() > tolerance).any()):
            return False
    return True


def paths_of(parameters: Collection[str], layers: Mapping[str, PlainLayer]) -> tuple[str, ...]:
    """Those layers whose weight is among the named parameters."""
    return tuple(path for path in layers if (f"{path}.weight" if path else "weight") in parameters)
