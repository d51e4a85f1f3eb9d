"""Follows tensors through a forward and notes which parametric operations and joins made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from fms_hub.weights.drafts import MATRIX_KINDS, DraftGraph, owner
from fms_hub.weights.structure import Kind, Role

_NORMS: Final = {
    "native_batch_norm",
    "cudnn_batch_norm",
    "miopen_batch_norm",
    "batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "_batch_norm_no_update",
    "native_layer_norm",
    "layer_norm",
    "native_group_norm",
    "group_norm",
    "rms_norm",
    "_fused_rms_norm",
    "instance_norm",
}
_PRODUCTS: Final = {
    "addmm",
    "mm",
    "bmm",
    "baddbmm",
    "addbmm",
    "addmv",
    "mv",
    "matmul",
    "linear",
    "_addmm_activation",
}
_MULTIPLIES: Final = {"mul", "mul_", "div", "div_", "addcmul", "addcmul_", "_prelu_kernel"}
_ADDS: Final = {"add", "add_", "sub", "sub_", "rsub"}
_CATS: Final = {
    "cat",
    "stack",
    "copy_",
    "index_put",
    "index_put_",
    "slice_scatter",
    "select_scatter",
    "scatter",
    "scatter_",
}
_CONVOLUTIONS: Final = {"convolution", "_convolution"}
_EMBEDDINGS: Final = {"embedding", "_embedding_bag", "_embedding_bag_forward_only"}
_FRESH: Final = {
    "zeros_like",
    "ones_like",
    "empty_like",
    "full_like",
    "rand_like",
    "randn_like",
    "randint_like",
    "new_zeros",
    "new_ones",
    "new_empty",
    "new_full",
    "new_empty_strided",
}
"""Operations that take a tensor for its shape only."""

_DATA: Final = {"addmm": 1, "_addmm_activation": 1, "baddbmm": 1, "addbmm": 1, "addmv": 2, "mv": 1}
"""Position of the data where it is not the first argument; embeddings are looked up in theirs."""
_BIAS: Final = {
    "addmm": 0,
    "_addmm_activation": 0,
    "baddbmm": 0,
    "addbmm": 0,
    "addmv": 0,
    "linear": 2,
    "convolution": 2,
    "_convolution": 2,
    "addcmul": 0,
    "addcmul_": 0,
}
_ROOTS: Final = {"addmm", "mm", "linear", *_CONVOLUTIONS, *_EMBEDDINGS}
"""Operations that count as nodes even on constant data, as a learned bias made from coordinates."""
_UNARY: Final = {
    "elu",
    "gelu",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "leaky_relu",
    "mish",
    "relu",
    "sigmoid",
    "silu",
    "softplus",
    "tanh",
}
_BINARY: Final = {"add", "mul", "sub", "div"}
_SAVING: Final = {"native_batch_norm", "_native_batch_norm_legit_no_training", "native_layer_norm"}
"""Normalisations that also give two statistics, which nobody reads in evaluation mode."""
_REUSED: Final = ("scale", "shift", "direct")
"""Uses of a parameter that join its first node when they come again; layers used again are that node."""


@dataclass(frozen=True)
class _Origin:
    """Where a tensor comes from: the node that made it, or the parameters it is a function of."""

    node: int | None = None
    parameters: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Use:
    """One tensor argument: position (-1 for keywords), the tensor, its origin, its name if a buffer."""

    position: int
    tensor: Tensor
    origin: _Origin
    buffer: str | None


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Builds a `DraftGraph` out of the operations of one forward.

    Origins are kept per storage, so that views, transposes and in-place changes share them. A
    parameter stays that parameter through reshapes, standardisation, look-ups and sums with others,
    until it meets data.

    Args:
        graph: receives nodes and edges; its input node stands for `images`.
        parameters, buffers: by name, the very tensors that the forward will use.
        images: the very tensor that the forward will be given.
    """

    def __init__(
        self,
        graph: DraftGraph,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        images: Tensor,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._graph = graph
        self._meta = images.is_meta
        self._origins = {_storage(tensor): _Origin(parameters=(name,)) for name, tensor in parameters.items()}
        self._origins[_storage(images)] = _Origin(node=0)
        self._buffers = {_storage(tensor): name for name, tensor in buffers.items()}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = tuple(args), dict(kwargs or {})
        if self._meta:
            args, kwargs = _onto_meta(args, kwargs)
        name = func.overloadpacket.__name__
        like = _elementwise(name, args) if self._meta else None
        result = func(*args, **kwargs) if like is None else like
        if name not in _FRESH:
            self._follow(name, args, kwargs, result)
        return result

    def nodes_of(self, result: object) -> list[int]:
        """Nodes that made the tensors in what a forward returned."""
        origins = [self._origin(tensor) for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        return [origin.node for origin in origins if origin.node is not None]

    def _origin(self, tensor: Tensor) -> _Origin:
        return self._origins.get(_storage(tensor), _Origin())

    def _follow(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        uses = [
            self._use(i, t) for i, arg in enumerate(args) for t in tree_leaves(arg) if isinstance(t, Tensor)
        ]
        uses += [self._use(-1, tensor) for tensor in tree_leaves(kwargs) if isinstance(tensor, Tensor)]
        if name == "copy_" and _fills_storage(uses[0].tensor):
            uses = uses[1:]
        origin = self._result_origin(name, args, uses)
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._origins[_storage(tensor)] = origin

    def _use(self, position: int, tensor: Tensor) -> _Use:
        return _Use(position, tensor, self._origin(tensor), self._buffers.get(_storage(tensor)))

    def _result_origin(self, name: str, args: tuple[Any, ...], uses: list[_Use]) -> _Origin:
        nodes = list(dict.fromkeys(use.origin.node for use in uses if use.origin.node is not None))
        names = list(dict.fromkeys(p for use in uses for p in use.origin.parameters))
        running = name in _NORMS and any(use.buffer for use in uses)
        if not nodes:
            nodes, uses = self._promote(name, uses)
            if not nodes and not (name in _ROOTS and _constant_data(name, uses)):
                return _Origin(parameters=tuple(names))
        if names or running:
            return _Origin(node=self._parametric(name, args, uses, nodes))
        return _Origin(node=self._join(name, nodes))

    def _join(self, name: str, nodes: list[int]) -> int:
        return nodes[0] if len(set(nodes)) == 1 else self._graph.join(_join_kind(name), nodes)

    def _promote(self, name: str, uses: list[_Use]) -> tuple[list[int], list[_Use]]:
        """Parameters used as data for another module's weights (learned queries) are a node first."""
        if _kind(name) not in (*MATRIX_KINDS, "norm"):
            return [], uses
        data = [use for use in uses if use.position == _DATA.get(name, 0) and use.origin.parameters]
        rest = [use for use in uses if use.position != _DATA.get(name, 0)]
        learned = {owner(p) for use in data for p in use.origin.parameters}
        applied = {owner(p) for use in rest for p in use.origin.parameters}
        if not learned or not applied or learned == applied:
            return [], uses
        return [
            self._graph.parametric("direct", [], [p for use in data for p in use.origin.parameters], {})
        ], rest

    def _parametric(self, name: str, args: tuple[Any, ...], uses: list[_Use], nodes: list[int]) -> int:
        biases = [p for use in uses if use.position == _bias(name) for p in use.origin.parameters]
        weights = [p for use in uses if use.position != _bias(name) for p in use.origin.parameters]
        kind = _kind(name) if weights or _kind(name) == "norm" else "shift"
        if kind == "shift":
            biases, weights = [], biases + weights
            if name in _ADDS and len(nodes) == 1 and self._graph.absorb_bias(nodes[0], weights):
                return nodes[0]
        owners = self._graph.owners(biases + weights) if kind in _REUSED else []
        if owners:
            return self._join(name, [*owners, *nodes])
        others: dict[str, Role] = dict.fromkeys(biases, "bias")
        if kind == "norm":
            others |= _running(uses)
        groups = int(args[8]) if kind == "conv" else 1
        flipped = bool(args[6]) if kind == "conv" else kind == "linear" and _flipped(uses)
        return self._graph.parametric(kind, nodes, weights, others, groups=groups, flipped=flipped)


def _storage(tensor: Tensor) -> StorageWeakRef:
    make: Callable[..., StorageWeakRef] = StorageWeakRef
    return make(tensor.untyped_storage())


def _fills_storage(tensor: Tensor) -> bool:
    return tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()


def _onto_meta(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Constants that a module keeps on another device follow the images onto meta."""
    devices = {leaf.device.type for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
    if len(devices) < 2 or "meta" not in devices:
        return args, kwargs
    moved: tuple[tuple[Any, ...], dict[str, Any]] = tree_map_only(
        Tensor, lambda t: t.to("meta"), (args, kwargs)
    )
    return moved


def _kind(name: str) -> Kind:
    if name in _CONVOLUTIONS:
        return "conv"
    if name in _PRODUCTS:
        return "linear"
    if name in _NORMS:
        return "norm"
    if name in _EMBEDDINGS:
        return "embedding"
    if name in _MULTIPLIES:
        return "scale"
    return "shift" if name in _ADDS or name.startswith("_scaled_dot_product") else "direct"


def _join_kind(name: str) -> Kind:
    if name in _ADDS:
        return "add"
    if name in _MULTIPLIES:
        return "mul"
    if name in _CATS:
        return "cat"
    return "matmul" if name in _PRODUCTS or name.startswith("_scaled_dot_product") else "mix"


def _bias(name: str) -> int | None:
    if name in _NORMS:
        return 3 if "layer" in name else 2
    return _BIAS.get(name)


def _constant_data(name: str, uses: Sequence[_Use]) -> bool:
    position = 1 if name in _EMBEDDINGS else _DATA.get(name, 0)
    return any(use.position == position and not use.origin.parameters for use in uses)


def _running(uses: Sequence[_Use]) -> dict[str, Role]:
    """Running mean and variance: the third and fourth per-channel arguments of a batch norm."""
    roles: dict[int, Role] = {3: "mean", 4: "var"}
    return {use.buffer: roles[use.position] for use in uses if use.buffer and use.position in roles}


def _flipped(uses: Sequence[_Use]) -> bool:
    """Whether a product's parameter is stored with inputs first; ``F.linear`` passes a transposed view."""
    for use in uses:
        if use.origin.parameters and use.tensor.ndim >= 2 and use.position >= 0:
            right = use.position == max(other.position for other in uses)
            stride = use.tensor.stride()
            return (stride[-2] != 1) if right else (stride[-1] != 1)
    return False


def _elementwise(name: str, args: tuple[Any, ...]) -> Tensor | tuple[Tensor, ...] | None:
    """The result on the meta device of an operation that keeps its first argument's shape and type.

    Meta forms of these are written in Python and take half of a trace; None leaves others to torch.
    """
    if not args or not isinstance(args[0], Tensor):
        return None
    first = args[0]
    if name.endswith("_") and (name[:-1] in _UNARY or (name[:-1] in _BINARY and _alike(first, args[1]))):
        return first
    if name in _UNARY or (name in _BINARY and _alike(first, args[1])):
        return torch.empty_like(first)
    if name in _SAVING and first.is_contiguous():
        return torch.empty_like(first), first.new_empty(0), first.new_empty(0)
    return None


def _alike(first: Tensor, second: object) -> bool:
    """Whether the sum of both has the shape, type and strides of the first."""
    if not isinstance(second, Tensor) or second.dtype != first.dtype:
        return False
    return second.shape == first.shape and second.stride() == first.stride()
