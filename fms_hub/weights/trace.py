"""The structure of a network, found by one forward on the meta device wherever that works."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from fms_hub.errors import CandidateError
from fms_hub.weights.drafts import DraftGraph
from fms_hub.weights.recorder import Recorder
from fms_hub.weights.structure import Kind, Role, Rung, Structure

FORWARD_ERRORS: Final = (
    RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError, OSError
)  # fmt: skip
"""What a stranger's forward or deepcopy raises when it cannot run as asked."""

_IMAGES: Final = 2
"""Two images: a bare ``squeeze()`` would drop a batch of one."""


def trace(module: nn.Module, input_size: tuple[int, int, int], *, disposable: bool = False) -> Structure:
    """Find the parametric operations of a network, their joins and the dataflow between them.

    The module is neither moved nor run nor changed: a copy of its skeleton, whose parameters and
    buffers live on the meta device, is run once under a dispatch mode. Where that fails (control
    flow that depends on values, operations without a meta form) a float32 copy on the CPU is run;
    where that fails too, the module tree stands in. `Structure.rung` says which it was.

    Args:
        module: any module whose forward takes a batch of images, at any device and dtype.
        input_size: channels, height and width of its images.
        disposable: the caller has no more use for the module, which is on the meta device: it is not copied.

    Returns:
        The structure; every parameter is owned by one node or listed in `Structure.uncovered`.

    Raises:
        CandidateError: not a module, one without parameters, or one whose lazy parameters have no
            shape yet.
    """
    _check(module, input_size)
    reasons: list[str] = []
    rungs: tuple[tuple[Rung, Callable[[Tensor], Tensor]], ...] = (("meta", _to_meta), ("real", _to_float32))
    for rung, place in rungs:
        try:
            skeleton = module.eval() if disposable and rung == "meta" else _skeleton(module, place)
            return _follow(skeleton, _shapes(module), input_size, rung, "; ".join(reasons))
        except FORWARD_ERRORS as error:
            reasons.append(f"{rung}: {type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return _module_tree(module, "; ".join(reasons))


def _check(module: object, input_size: tuple[int, int, int]) -> None:
    if not isinstance(module, nn.Module):
        raise CandidateError(f"a model must be a torch.nn.Module, found {type(module).__name__}.")
    parameters = list(module.parameters())
    if not parameters:
        raise CandidateError(f"{type(module).__name__} has no parameters; expected a network with weights.")
    if any(isinstance(parameter, nn.parameter.UninitializedParameter) for parameter in parameters):
        raise CandidateError(
            f"{type(module).__name__} has lazy parameters without a shape; run it once first."
        )
    if len(input_size) != 3 or min(input_size) < 1:
        raise CandidateError(
            f"an input size is (channels, height, width), all >= 1; found {tuple(input_size)}."
        )


def _follow(
    skeleton: nn.Module,
    shapes: dict[str, tuple[int, ...]],
    input_size: tuple[int, int, int],
    rung: Rung,
    reason: str,
) -> Structure:
    parameters, buffers = dict(skeleton.named_parameters()), dict(skeleton.named_buffers())
    graph = DraftGraph(shapes)
    images = _images(input_size, next(iter(parameters.values())))
    recorder = Recorder(graph, parameters, buffers, images)
    with torch.no_grad(), unfused_attention(), torch.random.fork_rng(devices=()), recorder:
        result = skeleton(images)
    return graph.finish(recorder.nodes_of(result), parameters, rung, reason)


def _skeleton(module: nn.Module, place: Callable[[Tensor], Tensor]) -> nn.Module:
    """A copy in evaluation mode whose tensors are made by `place`; only Python objects are copied."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(place(parameter), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = place(buffer)
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = place(value)
    return copy.deepcopy(module, memo).eval()


def _to_meta(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="meta")


def _to_float32(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def _images(input_size: tuple[int, int, int], like: Tensor) -> Tensor:
    shape = (_IMAGES, *input_size)
    dtype = like.dtype if like.is_floating_point() else torch.float32
    if like.is_meta:
        return torch.empty(shape, dtype=dtype, device="meta")
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Keep torch's transformer layers from running as one operation with a dozen parameters."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {name: tuple(tensor.shape) for name, tensor in tensors}


def _module_tree(module: nn.Module, reason: str) -> Structure:
    """Last rung: every module that owns parameters, in module order, as one chain."""
    graph = DraftGraph(_shapes(module))
    names = {id(parameter): name for name, parameter in reversed(list(module.named_parameters()))}
    last = 0
    for path, part in module.named_modules():
        own = [names[id(parameter)] for parameter in part.parameters(recurse=False)]
        running = _running(part, f"{path}." if path else "")
        kind = _kind(part)
        for group in [own] if kind != "direct" else [[name] for name in own]:
            if group or running:
                last = _add_module(graph, part, kind, last, group, running)
    return graph.finish([last], names.values(), "modules", reason)


def _add_module(
    graph: DraftGraph, part: nn.Module, kind: Kind, last: int, names: list[str], running: dict[str, Role]
) -> int:
    biases: dict[str, Role] = {
        n: "bias" for n in names if kind != "direct" and n.rpartition(".")[2] == "bias"
    }
    groups, flipped = (part.groups, part.transposed) if isinstance(part, _ConvNd) else (1, False)
    return graph.parametric(kind, [last], names, biases | running, groups=groups, flipped=flipped)


def _kind(part: nn.Module) -> Kind:
    kinds: dict[Kind, tuple[type[nn.Module], ...]] = {
        "conv": (_ConvNd,),
        "linear": (nn.Linear,),
        "embedding": (nn.Embedding,),
        "norm": (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm),
    }
    return next((kind for kind, classes in kinds.items() if isinstance(part, classes)), "direct")


def _running(part: nn.Module, prefix: str) -> dict[str, Role]:
    if not isinstance(part, _NormBase) or part.running_mean is None:
        return {}
    return {f"{prefix}running_mean": "mean", f"{prefix}running_var": "var"}
