"""Neuron axes of any network from a forward on the meta device."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fms_hub.errors import CandidateError
from fms_hub.weights.trace import unfused_attention
from training.weight_passing.axes import Axis, AxisClasses, Chain, Grid, Neurons, Ordered
from training.weight_passing.calls import Call, Labels, all_tensors
from training.weight_passing.labels import Atom, Expr, Fixed, Prod, atoms, resolve
from training.weight_passing.rules import follow
from training.weight_passing.shapes import Hint, fix_all, fixed, free

_PASSES: Final = 4
"""Forwards at most; each knows the stacked slots (q, k, v) that the ones before it met."""

_FORWARD_ERRORS: Final = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)


def infer_axes(module: nn.Module, input_size: tuple[int, int, int]) -> AxisClasses:
    """Infer the neuron axes from forwards on the meta device, or on the CPU where that fails.

    The module is neither moved nor changed. Operations without a rule keep the order of everything
    they touch.

    Args:
        module: any module whose forward takes a batch of images.
        input_size: channels, height and width of its images.

    Raises:
        CandidateError: its forward cannot be run.
    """
    reasons = []
    for device in ("meta", "cpu"):
        skeleton = copy.deepcopy(module).to(device, torch.float32).train().eval()  # empties caches
        try:
            return _infer(skeleton, input_size)
        except _FORWARD_ERRORS as error:
            reasons.append(f"{device}: {type(error).__name__}: {error}")
    raise CandidateError(f"{type(module).__name__} could not be run on images of {input_size}: {reasons}.")


def _infer(skeleton: nn.Module, input_size: tuple[int, int, int]) -> AxisClasses:
    hints: frozenset[Hint] = frozenset()
    for _ in range(_PASSES):
        found, wanted = _pass(skeleton, input_size, hints)
        if wanted <= hints:
            break
        hints |= wanted
    return found


def _pass(
    skeleton: nn.Module, input_size: tuple[int, int, int], hints: frozenset[Hint]
) -> tuple[AxisClasses, frozenset[Hint]]:
    labels = Labels(hints)
    owned: dict[str, Tensor] = dict(skeleton.named_parameters())
    owned |= {name: buffer for name, buffer in skeleton.named_buffers() if _statistic(buffer)}
    for tensor in owned.values():
        labels.set(tensor, free(tensor.shape))
    device = next(iter(owned.values())).device
    images = torch.zeros((2, *input_size), device=device)
    labels.set(images, fixed(images.shape))
    follower = _Follower(labels, device.type == "meta")
    with torch.no_grad(), unfused_attention(), torch.random.fork_rng(devices=()), follower:
        result = skeleton(images)
    for tensor in all_tensors(tree_leaves(result)):
        fix_all(labels.raw(tensor))
    for name, tensor in owned.items():
        if id(tensor) not in follower.met and name:
            fix_all(labels.raw(tensor))
    return _classes({name: labels[tensor] for name, tensor in owned.items()}), frozenset(labels.wanted)


def _statistic(buffer: Tensor) -> bool:
    return buffer.is_floating_point() and buffer.ndim == 1


class _Follower(TorchDispatchMode):
    """Labels what every operation returns."""

    def __init__(self, labels: Labels, meta: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._labels = labels
        self._meta = meta
        self.met: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        values = _bound(func, args, dict(kwargs or {}))
        tensors = all_tensors(values)
        self.met.update(id(tensor) for tensor in tensors)
        if self._meta and any(not t.is_meta for t in tensors) and any(t.is_meta for t in tensors):
            args, kwargs = tree_map_only(Tensor, lambda t: t.to("meta"), (tuple(args), dict(kwargs or {})))
        result = func(*args, **(kwargs or {}))
        self._labels.operation += 1
        follow(func, Call(self._labels, values, tensors, all_tensors(result)))
        return result


def _bound(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by their name in the operation's schema, defaults included."""
    values = {
        argument.name: argument.default_value
        for argument in func._schema.arguments
        if argument.has_default_value()
    }
    values |= {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)}
    order = [argument.name for argument in func._schema.arguments]
    values |= kwargs
    return {name: values[name] for name in order if name in values}


def _classes(labels: Mapping[str, tuple[Expr, ...]]) -> AxisClasses:
    numbers: dict[int, int] = {}
    sizes: list[int] = []
    for dims in labels.values():
        for dim in dims:
            for atom in atoms(dim):
                if id(atom) not in numbers:
                    numbers[id(atom)] = len(sizes)
                    sizes.append(atom.size)
    axes = {name: tuple(_axis(resolve(dim), numbers) for dim in dims) for name, dims in labels.items()}
    return AxisClasses(tuple(sizes), axes)


def _axis(expr: Expr, numbers: Mapping[int, int]) -> Axis:
    if isinstance(expr, Fixed):
        return Ordered(expr.size)
    if isinstance(expr, Atom):
        return Neurons(numbers[id(expr)], expr.size)
    parts = tuple(_axis(part, numbers) for part in expr.parts)
    return Grid(parts) if isinstance(expr, Prod) else Chain(parts)
