"""Whole networks: renumbered neurons change nothing, other weights change something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from fms_hub.errors import CheckpointError
from fms_hub.weights.describe import answers, describe, refresh

SIZE = (3, 160, 160)
Axes = Sequence[tuple[str, int]]


def _model(name: str) -> nn.Module:
    """A float64 network whose biases, scales and statistics are no constants."""
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(name).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    for key, buffer in model.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if "var" in key else -0.5))
    return model


def _norm(name: str) -> list[tuple[str, int]]:
    return [(f"{name}.{part}", 0) for part in ("weight", "bias", "running_mean", "running_var")]


def _resnet_hidden() -> list[Axes]:
    first = [("layer3.0.conv1.weight", 0), *_norm("layer3.0.bn1"), ("layer3.0.conv2.weight", 1)]
    return [first, [("layer3.0.conv2.weight", 0), *_norm("layer3.0.bn2"), ("layer3.0.conv3.weight", 1)]]


def _efficientnet_hidden() -> list[Axes]:
    block = "blocks.3.0"
    convs = [("conv_pw.weight", 0), ("conv_dw.weight", 0), ("conv_pwl.weight", 1)]
    squeeze = [("se.conv_reduce.weight", 1), ("se.conv_expand.weight", 0), ("se.conv_expand.bias", 0)]
    return [[(f"{block}.{n}", d) for n, d in convs + squeeze] + _norm(f"{block}.bn1") + _norm(f"{block}.bn2")]


def _vit_hidden() -> list[Axes]:
    names = (("fc1.weight", 0), ("fc1.bias", 0), ("fc2.weight", 1))
    return [[(f"blocks.{block}.mlp.{name}", axis) for name, axis in names] for block in range(6)]


def _vit_residual() -> list[Axes]:
    axes = [("patch_embed.proj.weight", 0), ("patch_embed.proj.bias", 0), ("cls_token", 2), ("pos_embed", 2)]
    axes += [("norm.weight", 0), ("norm.bias", 0), ("head.weight", 1)]
    for block in range(6):
        inner = [("norm1.weight", 0), ("norm1.bias", 0), ("norm2.weight", 0), ("norm2.bias", 0)]
        inner += [("attn.qkv.weight", 1), ("attn.proj.weight", 0), ("attn.proj.bias", 0)]
        inner += [("mlp.fc1.weight", 1), ("mlp.fc2.weight", 0), ("mlp.fc2.bias", 0)]
        axes += [(f"blocks.{block}.{name}", axis) for name, axis in inner]
    return [axes]


def _permuted(state: dict[str, Tensor], classes: list[Axes]) -> dict[str, Tensor]:
    state = dict(state)
    for axes in classes:
        name, axis = axes[0]
        order = torch.randperm(state[name].shape[axis], generator=torch.Generator().manual_seed(1))
        for name, axis in axes:
            state[name] = state[name].index_select(axis, order)
    return state


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("test_resnet", _resnet_hidden()),
        ("test_efficientnet", _efficientnet_hidden()),
        ("test_vit", _vit_hidden()),
        ("test_vit", _vit_residual()),
    ],
    ids=["resnet-hidden", "efficientnet-hidden", "vit-hidden", "vit-residual"],
)
def test_renumbered_neurons_change_nothing(name: str, classes: list[Axes]) -> None:
    model = _model(name)
    graph = describe(model, SIZE)
    images = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        before = model(images)
        model.load_state_dict(_permuted(model.state_dict(), classes))
        after = model(images)
    assert torch.allclose(before, after, rtol=1e-9, atol=1e-9)
    renumbered = describe(model, SIZE)
    assert graph.x.dtype == np.float64 and renumbered.structure == graph.structure
    np.testing.assert_allclose(renumbered.x, graph.x, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(renumbered.pooled(), graph.pooled(), rtol=1e-10, atol=1e-12)


def test_attention_heads_may_be_renumbered() -> None:
    model = _model("test_vit")
    graph, state = describe(model, SIZE), model.state_dict()
    heads = 2
    order = torch.arange(heads).flip(0)
    for block in range(6):
        path = f"blocks.{block}.attn"
        for name in (f"{path}.qkv.weight", f"{path}.qkv.bias"):
            state[name] = state[name].unflatten(0, (3, heads, -1))[:, order].reshape(state[name].shape)
        columns = state[f"{path}.proj.weight"].unflatten(1, (heads, -1))[:, order]
        state[f"{path}.proj.weight"] = columns.flatten(1)
    images = torch.randn(2, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        before = model(images)
        model.load_state_dict(state)
        assert torch.allclose(before, model(images), rtol=1e-9, atol=1e-9)
    renumbered = refresh(graph, state, answers(model, SIZE))
    np.testing.assert_allclose(renumbered.x, graph.x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["layer1.0.conv2.weight", "fc.bias", "bn1.weight", "bn1.running_var"])
def test_other_weights_change_the_features_of_their_node_only(name: str) -> None:
    model = _model("test_resnet")
    state = model.state_dict()
    graph = refresh(describe(model, SIZE), state)
    generator = torch.Generator().manual_seed(0)
    state[name] = state[name] * (1 + 0.05 * torch.rand(state[name].shape, generator=generator))
    changed = refresh(graph, state)
    rows = np.flatnonzero(np.abs(changed.x - graph.x).max(axis=1) > 1e-5)
    owners = [i for i, n in enumerate(graph.structure.nodes) if any(t.name == name for t in n.tensors)]
    assert rows.tolist() == owners
    assert np.abs(changed.pooled() - graph.pooled()).max() > 1e-5


def test_refresh_equals_describe_and_leaves_the_old_graph_alone() -> None:
    model = _model("test_resnet").float()
    graph = describe(model, SIZE)
    kept = graph.x.copy()
    for parameter in model.parameters():
        parameter.data.mul_(1.3)
    refreshed = refresh(graph, model.state_dict(), answers(model, SIZE))
    assert np.array_equal(refreshed.x, describe(model, SIZE).x)
    assert np.array_equal(graph.x, kept) and not np.array_equal(refreshed.x, kept)
    assert refreshed.x.dtype == np.float32


def test_half_precision_states_give_the_same_to_a_hundredth() -> None:
    model = _model("test_vit").float()
    graph = refresh(describe(model, SIZE), model.state_dict())
    half = refresh(graph, {name: tensor.half() for name, tensor in model.state_dict().items()})
    np.testing.assert_allclose(half.x, graph.x, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(half.pooled(), graph.pooled(), rtol=1e-2, atol=1e-2)


def test_states_that_do_not_fit_are_refused_by_name() -> None:
    model = _model("test_resnet")
    graph, state = describe(model, SIZE), model.state_dict()
    with pytest.raises(CheckpointError, match=r"'bn1\.running_var'.*found none"):
        refresh(graph, {name: tensor for name, tensor in state.items() if name != "bn1.running_var"})
    with pytest.raises(CheckpointError, match=r"'fc\.weight' of shape"):
        refresh(graph, state | {"fc.weight": torch.zeros(10, 96)})
    state["fc.weight"][3, 3] = torch.nan
    with pytest.raises(CheckpointError, match=r"finite values in 'fc\.weight'"):
        describe(model, SIZE)
