"""The structure of real and of awkward networks."""

from __future__ import annotations

from itertools import pairwise

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fms_hub.errors import CandidateError, CheckpointError
from fms_hub.weights.structure import Node, Structure
from fms_hub.weights.trace import trace

ARCHITECTURES = (
    "test_resnet",
    "test_vit",
    "test_convnext",
    "test_efficientnet",
    "resnet18",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "densenet121",
)


def _timm(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    with torch.device("meta"):
        model = timm.create_model(name)
    return model, model.pretrained_cfg["input_size"]


def _owner(structure: Structure, name: str) -> Node:
    return next(node for node in structure.nodes if any(tensor.name == name for tensor in node.tensors))


def _index(structure: Structure, name: str) -> int:
    return structure.nodes.index(_owner(structure, name))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_meta_forward_reaches_every_parameter_with_few_edges(name: str) -> None:
    model, size = _timm(name)
    structure = trace(model, size)
    owned = [tensor.name for tensor in structure.tensors if tensor.role not in ("mean", "var")]
    assert structure.rung == "meta"
    assert sorted(owned) == sorted(name for name, _ in model.named_parameters())
    assert structure.covered == structure.parameters == sum(p.numel() for p in model.parameters())
    assert len(structure.edges) <= 4 * len(structure.nodes)
    assert all(source < target for source, target in structure.edges)


def test_resnet_has_its_residual_sums_and_its_head() -> None:
    model, size = _timm("test_resnet")
    structure = trace(model, size)
    kinds = [node.kind for node in structure.nodes]
    assert (kinds.count("conv"), kinds.count("norm"), kinds.count("add"), kinds.count("linear")) == (
        15,
        15,
        4,
        1,
    )
    assert kinds[0] == "input" and kinds[-1] == "output"
    assert structure.head == _index(structure, "fc.weight")
    main, skip = _index(structure, "layer2.0.bn2.weight"), _index(structure, "layer2.0.downsample.2.weight")
    assert {target for source, target in structure.edges if source == main} == {
        target for source, target in structure.edges if source == skip
    }
    norm = _owner(structure, "bn1.weight")
    assert [(t.name, t.role) for t in norm.tensors] == [
        ("bn1.weight", "scale"),
        ("bn1.bias", "bias"),
        ("bn1.running_mean", "mean"),
        ("bn1.running_var", "var"),
    ]


def test_conv_nodes_know_their_fans_groups_and_taps() -> None:
    structure = trace(*_timm("test_efficientnet"))
    depthwise = next(node for node in structure.nodes if node.groups > 1)
    assert depthwise.shape == (depthwise.groups, 1, 3, 3)
    assert (depthwise.fan_in, depthwise.fan_out, depthwise.taps) == (9, depthwise.groups, 9)


def test_depth_rises_along_edges_from_input_to_output() -> None:
    structure = trace(*_timm("test_vit"))
    depths = [node.depth for node in structure.nodes]
    assert depths[0] == 0.0 and depths[-1] == 1.0
    assert all(depths[source] < depths[target] for source, target in structure.edges)


def test_tracing_repeats_and_leaves_the_module_alone() -> None:
    model = timm.create_model("test_resnet").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    structure = trace(model, (3, 160, 160))
    assert trace(model, (3, 160, 160)) == structure
    assert hash(structure) == hash(trace(model, (3, 160, 160)))
    assert model.training and all(part.training for part in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


class _Caches(nn.Module):
    """Keeps what it computed, as models with attention-bias caches do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.kept: dict[str, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        self.kept["last"] = self.layer(x.mean((2, 3)))
        return self.kept["last"]


def test_nothing_of_the_meta_forward_stays_in_the_module() -> None:
    model = _Caches()
    assert trace(model, (3, 4, 4)).rung == "meta"
    assert model.kept == {}


class _Branches(nn.Module):
    """Looks at a value before it decides."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.never = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        pooled = x.mean((2, 3)) + torch.rand(3)
        result: Tensor = self.layer(pooled) if pooled.sum().item() > -1e9 else self.never(pooled)
        return result


def test_control_flow_on_values_takes_a_real_forward() -> None:
    model = _Branches()
    state = torch.get_rng_state()
    structure = trace(model, (3, 4, 4))
    assert torch.equal(torch.get_rng_state(), state)
    assert structure.rung == "real" and "item()" in structure.reason
    assert [node.kind for node in structure.nodes] == ["input", "linear", "output"]
    assert structure.uncovered == ("never.bias", "never.weight")
    assert (structure.parameters, structure.covered) == (16, 8)


class _NeedsText(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(4, 6, 3, groups=2)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 2)
        self.token = nn.Parameter(torch.zeros(1, 1, 6))

    def forward(self, text: Tensor, images: Tensor) -> Tensor:
        result: Tensor = self.head(text + images)
        return result


def test_what_cannot_run_on_images_is_read_from_the_module_tree() -> None:
    structure = trace(_NeedsText(), (3, 4, 4))
    assert (
        structure.rung == "modules" and "meta: TypeError" in structure.reason and "real:" in structure.reason
    )
    assert [node.kind for node in structure.nodes] == ["input", "direct", "conv", "norm", "linear", "output"]
    assert structure.edges == ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5))
    assert structure.covered == structure.parameters and structure.nodes[2].groups == 2
    assert [tensor.role for tensor in structure.nodes[3].tensors] == ["scale", "bias", "mean", "var"]


class _Awkward(nn.Module):
    """A standardised kernel, a plain product, a transposed convolution, packed attention and its bias."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.gain = nn.Parameter(torch.ones(8))
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.project = nn.Parameter(torch.randn(6, 12))
        self.shift = nn.Parameter(torch.randn(12))
        self.qkv = nn.Linear(12, 36, bias=False)
        self.table = nn.Parameter(torch.zeros(31, 2))
        self.token = nn.Parameter(torch.zeros(1, 1, 12))
        self.temperature = nn.Parameter(torch.ones(()))
        self.position = torch.arange(17)
        self.window = torch.ones(12)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.batch_norm(self.kernel.reshape(1, 8, -1), None, None, training=True).view_as(self.kernel)
        x = self.up(F.conv2d(x, weight * self.gain.view(-1, 1, 1, 1))[:, :, :2, :2])
        x = x.flatten(2).transpose(1, 2) @ self.project + self.shift
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1)
        q, k, v = self.qkv(x).reshape(len(x), -1, 3, 2, 6).permute(2, 0, 3, 1, 4)
        bias = self.table[self.position[:, None] % 3 + self.position[None] % 3].permute(2, 0, 1)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return x.mean((1, 2)) * self.window[:6] * self.temperature


def test_parameters_are_followed_to_where_they_meet_data() -> None:
    structure = trace(_Awkward(), (3, 4, 4))
    assert structure.rung == "meta" and structure.uncovered == ()
    kernel = _owner(structure, "kernel")
    assert (kernel.kind, [t.role for t in kernel.tensors]) == ("conv", ["matrix", "scale"])
    up = _owner(structure, "up.weight")
    assert (up.kind, up.flipped, up.fan_in, up.fan_out) == ("conv", True, 32, 6)
    project = _owner(structure, "project")
    assert (project.kind, project.flipped, project.fan_in, project.fan_out) == ("linear", True, 6, 12)
    assert [(t.name, t.role) for t in project.tensors] == [("project", "matrix"), ("shift", "bias")]
    qkv = _owner(structure, "qkv.weight")
    assert (qkv.flipped, qkv.fan_in, qkv.fan_out) == (False, 12, 36)
    assert [_owner(structure, n).kind for n in ("token", "table", "temperature")] == [
        "direct",
        "shift",
        "scale",
    ]
    chain = [_index(structure, n) for n in ("kernel", "up.weight", "project", "token", "qkv.weight", "table")]
    assert all(pair in structure.edges for pair in pairwise(chain))


class _Dense(nn.Module):
    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(3 + i, 1, 1) for i in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


def test_edges_of_dense_blocks_grow_with_the_number_of_layers() -> None:
    edges = [len(trace(_Dense(layers), (3, 4, 4)).edges) for layers in (10, 20, 40)]
    assert edges[2] - edges[1] == 2 * (edges[1] - edges[0])


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTM(3, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.head(self.cell(x.flatten(2).transpose(1, 2))[0][:, -1])
        return result


def test_a_recurrent_cell_is_one_loop_however_long_the_sequence() -> None:
    short, long = trace(_Recurrent(), (3, 2, 2)), trace(_Recurrent(), (3, 8, 8))
    assert short == long and short.uncovered == ()
    assert any(source >= target for source, target in short.edges)


def test_a_layer_used_twice_is_one_node() -> None:
    shared = nn.Linear(4, 4)
    structure = trace(nn.Sequential(nn.Flatten(), shared, nn.ReLU(), shared, nn.Linear(4, 2)), (1, 2, 2))
    assert [node.kind for node in structure.nodes] == ["input", "linear", "linear", "output"]
    assert structure.covered == structure.parameters == 30


class _Token(nn.Module):
    """Puts a token next to the patches, and adds it again later, as class attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        token = self.token.expand(len(x), -1, -1)
        mixed = self.inner(torch.cat([token, x.flatten(2)], 1)).mean(1, keepdim=True)
        result: Tensor = self.head(token + mixed)
        return result


def test_a_parameter_added_again_is_joined_instead_of_looping_back() -> None:
    structure = trace(_Token(), (3, 2, 2))
    assert [node.kind for node in structure.nodes] == ["input", "direct", "linear", "add", "linear", "output"]
    assert structure.edges == ((0, 1), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5))


class _Looks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum().item() else -x


def test_torch_attention_is_not_swallowed_by_a_fused_operation() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    for values, rung in ((nn.Identity(), "meta"), (_Looks(), "real")):
        structure = trace(nn.Sequential(values, nn.Flatten(2), layer), (6, 2, 4))
        assert structure.rung == rung and structure.uncovered == ()
        assert sum(node.kind == "linear" for node in structure.nodes) == 4
    assert torch.backends.mha.get_fastpath_enabled()


def test_half_precision_and_constants_on_another_device_stay_on_meta() -> None:
    assert trace(timm.create_model("test_vit").half(), (3, 160, 160)).rung == "meta"
    assert trace(_Awkward(), (3, 4, 4)).reason == ""


@pytest.mark.parametrize("bad", [nn.ReLU(), nn.LazyLinear(3), "resnet18"])
def test_what_has_no_weights_is_refused(bad: object) -> None:
    with pytest.raises(CandidateError, match=r"ReLU has no|LazyLinear has lazy|found str"):
        trace(bad, (3, 4, 4))  # type: ignore[arg-type]


def test_a_bad_input_size_is_refused() -> None:
    with pytest.raises(CandidateError, match="channels, height, width"):
        trace(nn.Linear(3, 3), (3, 0, 4))


def test_structures_survive_json_and_nothing_else_does() -> None:
    structure = trace(*_timm("test_resnet"))
    text = structure.to_json()
    assert Structure.from_json(text) == structure
    for old, new in [
        ('"conv"', '"cnov"'),
        ('"matrix"', '"m"'),
        ("[0,1]", "[0,999]"),
        ('"rung"', '"r"'),
        ("]", "}"),
    ]:
        assert old in text
        with pytest.raises(CheckpointError, match="featurize the model again"):
            Structure.from_json(text.replace(old, new))
