"""Seconds of sketching a network's weights against forwards of the same network, paired in one run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import timm
import torch
from torch import Tensor

from fms_hub.weights.sketch import sketch
from fms_hub.weights.structure import Structure
from fms_hub.weights.trace import trace
from training.weight_passing.infer import infer_axes
from training.weight_passing.passing import Wiring, l2

CPU_MODELS = (
    "resnet50",
    "vit_base_patch16_224",
    "convnext_tiny",
    "efficientnet_b0",
    "swin_tiny_patch4_window7_224",
)
GPU_MODELS = ("vit_base_patch16_224", "vit_large_patch16_224", "vit_huge_patch14_224")
IMAGES = 8
_COPIED = 2**30
"""Bytes copied to measure a device's bandwidth."""


@dataclass(frozen=True)
class CpuSpeed:
    """One network on the CPU: medians of paired repeats.

    Attributes:
        forward, l1, l2: seconds of a forward over 8 images at native resolution, of L1, of L2.
        l1_per_forward: L1 against that forward; at most 1 is wanted.
        both_per_two_forwards: L1 and L2 against a forward over 16 images, taken as two over 8.
    """

    name: str
    forward: float
    l1: float
    l2: float
    l1_per_forward: float
    both_per_two_forwards: float


@dataclass(frozen=True)
class GpuSpeed:
    """One network whose weights lie on a GPU.

    Attributes:
        gigabytes: of weights in float32.
        seconds: of L1.
        gigabytes_per_second: weights described.
        copy_gigabytes_per_second: read and written by a copy on the device.
        share: of the two.
    """

    name: str
    gigabytes: float
    seconds: float
    gigabytes_per_second: float
    copy_gigabytes_per_second: float
    share: float


def on_cpu(name: str, repeats: int) -> CpuSpeed:
    """Forward, L1 and L2 one after the other, several times, with random weights."""
    model = timm.create_model(name).eval()
    size = model.pretrained_cfg["input_size"]
    wiring = Wiring(trace(model, size), infer_axes(model, size))
    assert wiring.links and wiring.vectors, name  # made here, outside the clock
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    images = torch.zeros(IMAGES, *size)
    rounds = []
    with torch.inference_mode():
        for _ in range(repeats + 1):
            rounds.append(
                (
                    _seconds(lambda: model(images)),
                    _seconds(lambda: sketch(wiring.structure, state)),
                    _seconds(lambda: l2(wiring, state)),
                )
            )
    kept = rounds[1:]
    return CpuSpeed(
        name,
        forward=median([f for f, _, _ in kept]),
        l1=median([a for _, a, _ in kept]),
        l2=median([b for _, _, b in kept]),
        l1_per_forward=median([a / f for f, a, _ in kept]),
        both_per_two_forwards=median([(a + b) / (2 * f) for f, a, b in kept]),
    )


def on_gpu(name: str, repeats: int) -> GpuSpeed:
    """L1 over weights on the current CUDA device."""
    model = timm.create_model(name).eval()
    structure: Structure = trace(model, model.pretrained_cfg["input_size"])
    state: dict[str, Tensor] = {
        tensor_name: tensor.detach().cuda()
        for tensor_name, tensor in (*model.named_parameters(), *model.named_buffers())
    }
    size = sum(state[owned.name].nbytes for owned in structure.tensors)
    times = [_seconds(lambda: sketch(structure, state)) for _ in range(repeats + 2)][2:]
    rate, bandwidth = size / median(times), copy_bandwidth(repeats)
    return GpuSpeed(name, size / 1e9, median(times), rate / 1e9, bandwidth / 1e9, rate / bandwidth)


def copy_bandwidth(repeats: int) -> float:
    """Bytes per second that a copy on the current CUDA device reads and writes."""
    source = torch.ones(_COPIED, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    times = [_seconds(lambda: target.copy_(source)) for _ in range(repeats + 2)][2:]
    return 2 * _COPIED / median(times)


def _seconds(work: Callable[[], object]) -> float:
    _wait()
    start = time.perf_counter()
    work()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
