"""Structures of every timm architecture and Hugging Face image classifier, without weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import timm
import torch
from torch import Tensor, nn
from transformers import AutoModelForImageClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from fms_hub.errors import CandidateError
from fms_hub.weights.trace import trace

_PIXELS = 224
_BUILD_ERRORS = (ImportError, RuntimeError, ValueError, TypeError, AttributeError, LookupError, OSError)
"""What constructors raise when a package they need is missing or their default config does not fit."""


@dataclass(frozen=True)
class Traced:
    """One architecture.

    Attributes:
        library: ``"timm"`` or ``"transformers"``.
        name: in timm, or the type of model.
        rung: of its structure, or ``"none"``.
        parameters, covered: elements in all and in nodes.
        nodes, edges: of the structure.
        seconds: of tracing, building not included.
        missed: parameters that no node owns.
        reason: why it is not on the first rung.
    """

    library: str
    name: str
    rung: str
    parameters: int = 0
    covered: int = 0
    nodes: int = 0
    edges: int = 0
    seconds: float = 0.0
    missed: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Coverage:
    """All architectures of a library.

    Attributes:
        architectures, ok: in all, and those whose forward was followed.
        failed: names of the others.
        reached: share of all parameters of those that were ok.
        edges_per_node: the largest.
        median_seconds: of tracing.
        incomplete: architectures below 99.9 % of their parameters.
    """

    library: str
    architectures: int
    ok: int
    failed: tuple[str, ...]
    reached: float
    edges_per_node: float
    median_seconds: float
    incomplete: tuple[str, ...]


class _Classifier(nn.Module):
    """A transformers classifier as a function of images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.model(pixel_values=images)[0]
        return logits


def timm_names() -> list[str]:
    """All registered architectures."""
    names: list[str] = timm.list_models()
    return names


def transformers_names() -> list[str]:
    """All types of model with an image classifier."""
    return sorted(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES)


def trace_all(library: str, names: Sequence[str]) -> Iterator[Traced]:
    """Build every architecture on the meta device and find its structure."""
    build = {"timm": _build_timm, "transformers": _build_transformers}[library]
    for name in names:
        yield _traced(library, name, build)


def summary(library: str, traced: Sequence[Traced]) -> Coverage:
    """What `Coverage` reports of a list of architectures, which is not empty."""
    ok = [one for one in traced if one.rung in ("meta", "real")]
    return Coverage(
        library=library,
        architectures=len(traced),
        ok=len(ok),
        failed=tuple(one.name for one in traced if one not in ok),
        reached=sum(one.covered for one in ok) / max(sum(one.parameters for one in ok), 1),
        edges_per_node=max((one.edges / one.nodes for one in ok), default=0.0),
        median_seconds=median([one.seconds for one in ok] or [0.0]),
        incomplete=tuple(one.name for one in ok if one.covered < 0.999 * one.parameters),
    )


def _traced(
    library: str, name: str, build: Callable[[str], tuple[nn.Module, tuple[int, int, int]]]
) -> Traced:
    try:
        with torch.device("meta"):
            module, size = build(name)
        start = time.perf_counter()
        found = trace(module, size, disposable=True)
    except (*_BUILD_ERRORS, CandidateError) as error:
        return Traced(library, name, "none", reason=f"{type(error).__name__}: {error}"[:300])
    return Traced(
        library,
        name,
        found.rung,
        found.parameters,
        found.covered,
        len(found.nodes),
        len(found.edges),
        time.perf_counter() - start,
        found.uncovered,
        found.reason,
    )


def _build_timm(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    model = timm.create_model(name)
    return model, model.pretrained_cfg["input_size"]


def _build_transformers(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    config = CONFIG_MAPPING[name]()
    classes = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[name]
    config.architectures = [classes if isinstance(classes, str) else classes[0]]
    pixels = getattr(config, "image_size", None) or getattr(
        getattr(config, "vision_config", None), "image_size", _PIXELS
    )
    height, width = pixels if isinstance(pixels, list | tuple) else (pixels, pixels)
    model = AutoModelForImageClassification.from_config(config)
    return _Classifier(model), (getattr(config, "num_channels", 3), int(height), int(width))
