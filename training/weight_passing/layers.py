"""Rules of products, convolutions, normalisations and reductions."""

from __future__ import annotations

from collections.abc import Sequence

from training.weight_passing.calls import Call
from training.weight_passing.labels import Fixed, fix, product, size_of, split, unify
from training.weight_passing.shapes import (
    Dims,
    Label,
    broadcast,
    fixed,
)


def _matmul(left: Dims, right: Dims) -> Dims:
    """Batched or not: the last dimension of the left is summed with the last but one of the right."""
    unify(left[-1], right[-2])
    batch = tuple(unify(a, b) for a, b in zip(left[:-2], right[:-2], strict=True))
    return (*batch, left[-2], right[-1])


def mm(call: Call) -> Label:
    """Matrix products, batched or not."""
    return _matmul(*(call.labels[tensor] for tensor in call.tensors))


def addmm(call: Call) -> Label:
    """A sum and a matrix product."""
    first, left, right = (call.labels[tensor] for tensor in call.tensors)
    return broadcast([_matmul(left, right), first], call.results[0].shape)


def attention(call: Call) -> list[Label]:
    """Scaled dot-product attention as one operation."""
    query, key, value = (call.dims(name) for name in ("query", "key", "value"))
    scores = _matmul(query, (*key[:-2], key[-1], key[-2]))
    for name in ("attn_mask", "attn_bias"):
        if call.values.get(name) is not None:
            scores = broadcast([scores, call.dims(name)], [size_of(dim) for dim in scores])
    if call.values.get("is_causal"):
        fix(scores[-1])
        fix(scores[-2])
    return [_matmul(scores, value)]


def convolution(call: Call) -> Label:
    """Convolutions of any dimension, grouped and transposed ones included."""
    data, weight = call.dims("input"), call.dims("weight")
    for dim in (*data[2:], *weight[2:]):
        fix(dim)
    groups = int(call.values["groups"])
    if call.values["transposed"]:
        inputs = weight[0]
        unify(data[1], inputs)
        group, _ = split(inputs, groups)
        out = product([group, weight[1]])
    else:
        group, inner = split(data[1], groups)
        unify(inner, weight[1])
        unify(group, split(weight[0], groups)[0])
        out = weight[0]
    if call.values["bias"] is not None:
        unify(out, call.dims("bias")[0])
    return (data[0], out, *fixed(call.results[0].shape[2:]))


def batch_norm(call: Call) -> list[Label]:
    """One mean and deviation per channel."""
    data = call.dims("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.values.get(name) is not None:
            unify(data[1], call.dims(name)[0])
    return [data]


def layer_norm(call: Call) -> list[Label]:
    """One mean and deviation over the last dimensions."""
    data = call.dims("input")
    for name in ("weight", "bias"):
        if call.values.get(name) is not None:
            tied = call.dims(name)
            for one, other in zip(data[-len(tied) :], tied, strict=True):
                unify(one, other)
    return [data]


def group_norm(call: Call) -> list[Label]:
    """Channels as groups of equals."""
    data = call.dims("input")
    split(data[1], int(call.values["group"]))
    for name in ("weight", "bias"):
        if call.values.get(name) is not None:
            unify(data[1], call.dims(name)[0])
    return [data]


def reduction(call: Call) -> list[Label]:
    """Sums, means, norms over dimensions: the order does not count."""
    dims, given = call.labels[call.source], call.values.get("dim")
    axes = given if isinstance(given, Sequence) else [] if given is None else [given]
    gone = {int(d) % len(dims) for d in axes} if axes else set(range(len(dims)))
    keep = call.values.get("keepdim", False)
    kept = [Fixed(1) if d in gone else dim for d, dim in enumerate(dims) if keep or d not in gone]
    return [tuple(kept)] * len(call.results)


def along(call: Call) -> Label:
    """Operations along a dimension whose positions all count alike: softmax."""
    return call.labels[call.source]


def weight_norm(call: Call) -> list[Label]:
    """Weights as a direction and a length."""
    return [broadcast([call.dims("v"), call.dims("g")], call.results[0].shape)]
