"""Renumber the neurons of real networks: their function and their features must not change.

Every permutation is first shown to keep the network's output; then features are compared. The other
way round one weight matrix alone is renumbered, which must change both the output and L2.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fms_hub.weights.describe import describe
from fms_hub.weights.trace import trace
from training.weight_passing.axes import permute
from training.weight_passing.incidence import Link
from training.weight_passing.infer import infer_axes
from training.weight_passing.passing import Wiring, l2

_FLOOR = 1e-3
"""Entries of features smaller than this count as this large when changes are put in relation to them."""


@dataclass(frozen=True)
class Member:
    """A small network of a family.

    Attributes:
        family: its family.
        name: in timm.
        pixels: height and width of its images.
        settings: of `timm.create_model`, to make it smaller.
        slow: takes seconds; left to the benchmark, not among the tests.
    """

    family: str
    name: str
    pixels: int
    settings: dict[str, object] = field(default_factory=dict)
    slow: bool = False


_SWIN: dict[str, object] = {"depths": (2, 2), "embed_dim": 24, "num_heads": (2, 4)}
MEMBERS = (
    Member("resnet", "test_resnet", 64),
    Member("resnext", "resnext50_32x4d", 64, {"layers": (1, 1, 1, 1)}),
    Member("res2net", "res2net50_48w_2s", 64, {"layers": (1, 1, 1, 1)}, slow=True),
    Member("sknet", "skresnet18", 64, {"layers": (1, 1, 1, 1)}),
    Member("regnet", "regnety_002", 64),
    Member("mobilenetv3", "mobilenetv3_small_050", 64),
    Member("efficientnet", "test_efficientnet", 64),
    Member("mixnet", "tf_mixnet_s", 64, slow=True),
    Member("ghostnet", "ghostnet_050", 64, slow=True),
    Member("convnext", "test_convnext", 64),
    Member("inception next", "inception_next_atto", 64),
    Member("densenet", "densenet121", 64, {"block_config": (3, 3, 3, 3)}),
    Member("vit", "test_vit", 160),
    Member("vit, relative positions", "test_vit_relpos", 160),
    Member("deit", "deit_tiny_distilled_patch16_224", 224, {"depth": 2}),
    Member("beit", "beit_base_patch16_224", 224, {"depth": 2, "embed_dim": 96, "num_heads": 3}),
    Member("eva, RoPE", "eva02_tiny_patch14_224", 224, {"depth": 2}),
    Member("swin", "swin_tiny_patch4_window7_224", 224, _SWIN),
    Member("swinv2", "swinv2_tiny_window8_256", 256, _SWIN),
    Member("mixer", "mixer_s32_224", 224, {"mlp_ratio": (0.25, 1.5)}),
    Member("mambaout", "test_mambaout", 64),
    Member("nfnet", "test_nfnet", 64),
    Member("byobnet", "test_byobnet", 64),
    Member("dla", "dla46x_c", 64),
    Member("poolformer", "poolformer_s12", 64, slow=True),
    Member("xcit", "xcit_nano_12_p16_224", 224, {"depth": 2}),
    Member("cait", "cait_xxs24_224", 224, {"depth": 2}),
    Member("coatnet", "test_coatnet", 160),
    Member("maxvit", "test_maxvit", 160),
    Member("edgenext", "edgenext_xx_small", 64),
    Member("mobilevit", "mobilevit_xxs", 64),
    Member("levit", "levit_128s", 224, slow=True),
    Member("efficientformerv2", "efficientformerv2_s0", 224, slow=True),
    Member("hrnet", "hrnet_w18_small", 64, slow=True),
    Member("cspnet", "cspresnet50", 64, slow=True),
    Member("pvt", "pvt_v2_b0", 64),
)


@dataclass(frozen=True)
class Invariance:
    """What renumbering changed, relative.

    Attributes:
        family, name: of the network.
        classes: of neurons that were renumbered.
        both_axes, one_axis: shares of the elements of weight matrices with both or with at least one
            of their two neuron axes in such a class; colours and logits never are.
        output, nodes, pooled, l2: largest change of the network's output, of `WeightGraph.x`, of
            `WeightGraph.pooled` and of L2 when every class is renumbered.
        wrong_output, wrong_l2: change when one weight matrix alone is.
    """

    family: str
    name: str
    classes: int
    both_axes: float
    one_axis: float
    output: float
    nodes: float
    pooled: float
    l2: float
    wrong_output: float
    wrong_l2: float


def measure(member: Member, seed: int = 0) -> Invariance:
    """Renumber one network in float64, with random norm statistics and biases."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = timm.create_model(member.name, num_classes=10, **member.settings).double().eval()
    _randomise(model, generator)
    size = (3, member.pixels, member.pixels)
    images = torch.randn(1, *size, generator=generator, dtype=torch.float64)
    wiring = Wiring(trace(model, size), infer_axes(model, size))
    state = {name: value.clone() for name, value in _state(model).items()}
    moved = permute(state, wiring.classes, generator)
    link = _middle(wiring)
    wrong = state | {link.name: moved[link.name]}
    output, after = _output(model, state, images), _output(model, moved, images)
    wrong_output = _change(output, _output(model, wrong, images))
    features = _features(wiring, model, size)
    with torch.no_grad():
        for name, tensor in _state(model).items():
            tensor.copy_(moved[name])
    again = _features(wiring, model, size)
    return Invariance(
        member.family,
        member.name,
        len(wiring.classes.sizes),
        *_shares(wiring),
        output=_change(output, after),
        nodes=_largest(features[0], again[0]),
        pooled=_largest(features[1], again[1]),
        l2=_largest(features[2], again[2]),
        wrong_output=wrong_output,
        wrong_l2=_norm_change(features[2], l2(wiring, wrong)),
    )


def _randomise(model: nn.Module, generator: torch.Generator) -> None:
    """Tell neurons apart that a fresh network does not: norms, biases, layer scales, position tables."""
    with torch.no_grad():
        for name, tensor in _state(model).items():
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
            if name.endswith("running_var"):
                tensor.copy_(noise + 0.5)
            elif tensor.is_floating_point() and (tensor.ndim < 2 or isinstance(tensor, nn.Parameter)):
                spread = 0.4 if tensor.ndim < 2 else 0.1 * max(float(tensor.std(correction=0)), 0.02)
                tensor.add_(spread * (noise - 0.5))


def _state(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def _output(model: nn.Module, state: dict[str, Tensor], images: Tensor) -> NDArray[np.float64]:
    model.train().eval()  # empties caches of tables made from weights
    with torch.no_grad():
        logits: Tensor = torch.func.functional_call(model, state, (images,))
    return logits.numpy()


def _features(
    wiring: Wiring, model: nn.Module, size: tuple[int, int, int]
) -> tuple[NDArray[np.float64], ...]:
    """Nodes, pooled and L2; nodes have the sketch and the answers to synthetic images."""
    model.train().eval()
    state = _state(model)
    graph = describe(model, size)
    return graph.x.astype(np.float64), graph.pooled(), l2(wiring, state)


def _middle(wiring: Wiring) -> Link:
    """A weight matrix in the middle of the network with neurons on both sides."""
    inner = [
        link
        for link in wiring.links
        if all(any(block.key for block in side) for side in (link.rows, link.columns))
    ]
    return inner[len(inner) // 2]


def _shares(wiring: Wiring) -> tuple[float, float]:
    both = one = total = 0
    for link in wiring.links:
        size = wiring.structure.nodes[link.node].parameters
        sides = sum(any(block.key for block in side) for side in (link.rows, link.columns))
        total, both, one = total + size, both + size * (sides == 2), one + size * (sides >= 1)
    return both / total, one / total


def _change(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    return float(np.abs(after - before).max() / np.abs(before).max())


def _norm_change(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(after - before) / np.linalg.norm(before))


def _largest(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Largest relative change of any entry."""
    return float((np.abs(after - before) / np.maximum(np.abs(before), _FLOOR)).max())
