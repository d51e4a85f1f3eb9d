"""How single operations of a forward tie the neuron axes of their arguments; unknown ones fix them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor

from training.weight_passing import layers, views, windows
from training.weight_passing.calls import Call, opaque
from training.weight_passing.labels import Misaligned, size_of
from training.weight_passing.shapes import (
    Label,
    Stack,
    broadcast,
    fixed,
)

Rule: TypeAlias = Callable[[Call], Label | list[Label]]


def follow(func: Any, call: Call) -> None:
    """Label what an operation returns, tying its arguments."""
    name = func.overloadpacket.__name__
    name = name[:-1] if name.endswith("_") and not name.startswith("__") else name
    rule = RULES.get(name) or (_pointwise if torch.Tag.pointwise in func.tags else opaque)
    try:
        found = rule(call)
    except Misaligned:
        found = opaque(call)
    labels = found if isinstance(found, list) else [found]
    for place, result in enumerate(call.results):
        label = labels[place] if place < len(labels) else fixed(result.shape)
        call.labels.set(result, _checked(label, result))


def _checked(label: Label, result: Tensor) -> Label:
    if isinstance(label, Stack):
        return label
    sizes = tuple(size_of(dim) for dim in label)
    if sizes != tuple(result.shape):
        raise AssertionError(f"a label of sizes {sizes} was given to a tensor of shape {tuple(result.shape)}")
    return label


def _pointwise(call: Call) -> Label:
    shaped = [tensor for tensor in call.tensors if tensor.ndim]
    if len(shaped) == 1 and shaped[0].shape == call.results[0].shape:
        return call.labels.raw(shaped[0])
    return broadcast([call.labels[tensor] for tensor in shaped], call.results[0].shape)


RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("clone", "detach", "alias", "_to_copy", "lift_fresh", "contiguous"), views.same),
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias", "unflatten"), views.view),
    **dict.fromkeys(
        (
            *("zeros", "ones", "full", "empty", "zeros_like", "ones_like", "full_like", "empty_like"),
            *("new_zeros", "new_ones", "new_full", "new_empty", "scalar_tensor"),
        ),
        views.follow_free,
    ),
    **dict.fromkeys(("mm", "bmm"), layers.mm),
    **dict.fromkeys(("addmm", "baddbmm"), layers.addmm),
    **dict.fromkeys(
        ("mean", "sum", "amax", "amin", "var", "std", "var_mean", "logsumexp", "linalg_vector_norm", "norm"),
        layers.reduction,
    ),
    **dict.fromkeys(("_softmax", "_log_softmax", "_safe_softmax", "softmax", "hardswish"), layers.along),
    **dict.fromkeys(
        (
            "avg_pool2d",
            "_adaptive_avg_pool2d",
            "adaptive_max_pool2d",
            "max_pool2d_with_indices",
            "reflection_pad2d",
            "replication_pad2d",
            "upsample_nearest2d",
            "upsample_bilinear2d",
            "upsample_bicubic2d",
            "_upsample_bilinear2d_aa",
            "_upsample_bicubic2d_aa",
        ),
        windows.spatial,
    ),
    **dict.fromkeys(
        (
            "native_batch_norm",
            "_native_batch_norm_legit_no_training",
            "_native_batch_norm_legit",
            "_batch_norm_no_update",
            "cudnn_batch_norm",
        ),
        layers.batch_norm,
    ),
    **dict.fromkeys(("roll", "flip", "cumsum"), views.ordered),
    **dict.fromkeys(("split", "split_with_sizes", "unsafe_split", "unsafe_chunk"), views.follow_split),
    "copy": views.follow_copy,
    "permute": views.follow_permute,
    "transpose": views.transpose,
    "t": views.t,
    "expand": views.follow_expand,
    "squeeze": views.squeeze,
    "unsqueeze": views.unsqueeze,
    "slice": views.follow_slice,
    "select": views.follow_select,
    "unbind": views.unbind,
    "cat": views.cat,
    "stack": views.stack,
    "repeat": views.repeat,
    "convolution": layers.convolution,
    "native_layer_norm": layers.layer_norm,
    "_fused_rms_norm": layers.layer_norm,
    "native_group_norm": layers.group_norm,
    "constant_pad_nd": windows.padding,
    "pixel_shuffle": windows.pixel_shuffle,
    "pixel_unshuffle": windows.pixel_unshuffle,
    "channel_shuffle": windows.channel_shuffle,
    "native_channel_shuffle": windows.channel_shuffle,
    "im2col": windows.im2col,
    "col2im": windows.col2im,
    "as_strided": views.as_strided,
    "unfold": windows.unfold,
    "glu": views.glu,
    "embedding": views.embedding,
    "index": views.index,
    "index_select": views.index_select,
    "_weight_norm_interface": layers.weight_norm,
    "_scaled_dot_product_flash_attention_for_cpu": layers.attention,
    "_scaled_dot_product_fused_attention_overrideable": layers.attention,
    "_scaled_dot_product_efficient_attention": layers.attention,
    "_scaled_dot_product_flash_attention": layers.attention,
    "_scaled_dot_product_attention_math": layers.attention,
}
