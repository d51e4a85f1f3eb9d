"""The one door to timm: its registry, its networks, its folder layout."""

from __future__ import annotations

import copy
import dataclasses
import fnmatch
import json
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import timm
import torch
from timm.data.config import resolve_model_data_config
from timm.models import (
    get_model_input_config,
    get_pretrained_cfg,
    group_parameters,
    is_model,
    list_models,
    list_pretrained,
    model_entrypoint,
    save_for_hf,
)
from torch import nn

from fms_hub.errors import CandidateError
from fms_hub.models import folder
from fms_hub.models.model import (
    HeadDropout,
    InputSpec,
    Model,
    Request,
    copy_backbone,
    require_logits,
    summary,
)
from fms_hub.seeding import seeded_on_cpu


@runtime_checkable
class TimmNetwork(Protocol):
    """What every timm classifier offers; timm has no base class of its own."""

    pretrained_cfg: dict[str, Any]

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        """The classification head, or heads."""

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head."""

    def group_matcher(self, coarse: bool = False) -> Any:
        """Patterns that order the parameters from stem to head."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """One entry of timm's list of pretrained weights.

    Attributes:
        name: architecture and tag, ``resnet18.a1_in1k``.
        architecture: ``resnet18``.
        repo: the Hub repository with the weights, or None where timm knows only another address.
    """

    name: str
    architecture: str
    repo: str | None


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where timm finds an architecture and its weights.

    Attributes:
        name: what ``timm.create_model`` is called with: ``resnet18.a1_in1k`` or ``local-dir:FOLDER``.
        fixed_size: whether its parameters depend on the image size.
        weights: a safetensors file that stands in for timm's own download, else None.
    """

    name: str
    fixed_size: bool
    weights: Path | None = None


def architectures() -> list[str]:
    """Names of all architectures that timm can build."""
    return list(list_models())


def checkpoints(pattern: str = "*") -> tuple[Checkpoint, ...]:
    """Pretrained checkpoints of timm whose name matches a glob pattern, if the Hub has their weights."""
    names = fnmatch.filter(list_pretrained(), pattern)
    found = (checkpoint(name) for name in names)
    return tuple(item for item in found if item is not None and item.repo is not None)


def checkpoint(name: str) -> Checkpoint | None:
    """The pretrained checkpoint of this name; an architecture alone stands for timm's default of it."""
    try:
        config = get_pretrained_cfg(name)
    except RuntimeError:  # a known architecture with an unknown tag
        return None
    if config is None or not config.has_weights or config.architecture is None:
        return None
    full = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    return Checkpoint(full, config.architecture, config.hf_hub_id)


def source_classes(name: str) -> int | None:
    """Classes of the head that a registered checkpoint was pretrained with; None if timm does not say."""
    config = get_pretrained_cfg(name)
    return None if config is None or not config.num_classes else int(config.num_classes)


def is_architecture(name: str) -> bool:
    """Whether timm can build an architecture of this name."""
    return "." not in name and bool(is_model(name))


def family(name: str) -> str | None:
    """The module of timm that defines an architecture; None if timm itself has none of the name."""
    if not is_architecture(name):
        return None
    package, _, module = str(model_entrypoint(name).__module__).rpartition(".")
    return module if package == "timm.models" else None


def origin_of_name(name: str, weights: Path | None = None) -> Origin:
    """Origin of a registered architecture, or of a registered checkpoint whose weights lie in a file."""
    config = get_pretrained_cfg(name)
    return Origin(name, bool(config and config.fixed_input_size), weights)


def origin_of_folder(opened: folder.CheckpointFolder) -> Origin:
    """Origin of a checkpoint folder in timm's layout.

    Raises:
        CandidateError: this timm does not know the architecture.
    """
    if not is_model(opened.architecture):
        raise CandidateError(
            f"{opened.path}: timm {timm.__version__} does not know the architecture {opened.architecture!r}. "
            "Update timm, or give the network as an nn.Module."
        )
    config = opened.config.get("pretrained_cfg", opened.config)
    arguments = opened.config.get("model_args", {})
    return Origin(f"local-dir:{opened.path}", bool(config.get("fixed_input_size")) or "img_size" in arguments)


def build(origin: Origin, request: Request) -> Model:
    """A timm network with a new head; its backbone is filled from `origin` where weights are asked for.

    Raises:
        CandidateError: the architecture refuses the image size, or the weights do not fit it.
    """
    fixed = request.image_size if origin.fixed_size else None
    with seeded_on_cpu(request.seed):
        module = _create(origin, request.name, False, request.classes, request.dropout, fixed)
        if request.weights:
            # Under the head it was trained with, timm loads a checkpoint strictly; under another it does not.
            pretrained = _create(origin, request.name, True, None, None, fixed).state_dict()
            copy_backbone(pretrained, module, head_names(module), request.name)
    if request.image_size is not None:
        require_logits(module, request.name, request.classes, request.image_size)
    return Model(module, input_spec(module, request.image_size))


def skeleton(origin: Origin, name: str, image_size: int | None) -> Model:
    """A timm network on the meta device, under the head that its config names; nothing is read but that.

    Raises:
        CandidateError: the architecture refuses the image size.
    """
    with torch.device("meta"):
        return original(origin, name, image_size, weights=False)


def original(origin: Origin, name: str, image_size: int | None, *, weights: bool) -> Model:
    """A timm network as it was published, under its own head.

    Raises:
        CandidateError: the architecture refuses the image size, or the weights do not fit it.
    """
    module = _create(origin, name, weights, None, None, image_size if origin.fixed_size else None)
    return Model(module, input_spec(module, image_size))


def build_copy(module: TimmNetwork, request: Request) -> Model:
    """A copy of the user's own timm network under a new head.

    Raises:
        CandidateError: the network refuses the image size.
    """
    copied: nn.Module = copy.deepcopy(cast(nn.Module, module)).cpu().float()
    with seeded_on_cpu(request.seed):
        cast(TimmNetwork, copied).reset_classifier(request.classes)
    if request.dropout > 0:
        for head in heads(copied):
            head.register_forward_pre_hook(HeadDropout(request.dropout))
    spec = input_spec(copied, request.image_size)
    require_logits(copied, request.name, request.classes, spec.size)
    return Model(copied, spec)


def heads(module: nn.Module) -> tuple[nn.Module, ...]:
    """The classification heads of a timm network, one but for distilled networks."""
    assert isinstance(module, TimmNetwork)
    found = module.get_classifier()
    return found if isinstance(found, tuple) else (found,)


def head_names(module: nn.Module) -> frozenset[str]:
    """State dict keys of a timm network's classification head."""
    found = [id(head) for head in heads(module)]
    prefixes = tuple(f"{path}." for path, child in module.named_modules() if id(child) in found)
    return frozenset(key for key in module.state_dict() if key.startswith(prefixes))


def input_spec(module: nn.Module, image_size: int | None = None) -> InputSpec:
    """How a timm network wants its images; `image_size` in pixels replaces its own size."""
    config = resolve_model_data_config(module)
    return InputSpec(
        size=image_size or int(get_model_input_config(module)["input_size"][-1]),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation=str(config["interpolation"]),
        crop=float(config["crop_pct"]),
    )


def layer_groups(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Parameter names of a timm network from stem to head, in timm's own grouping."""
    assert isinstance(module, TimmNetwork)
    groups = group_parameters(module, module.group_matcher(coarse=False))
    return tuple(tuple(groups[index]) for index in sorted(groups))


def write_folder(model: Model, classes: tuple[str, ...], target: Path) -> None:
    """Write a timm network so that ``timm.create_model("local-dir:...", pretrained=True)`` opens it."""
    spec = model.input
    data = {
        "input_size": (3, spec.size, spec.size),
        "mean": spec.mean,
        "std": spec.std,
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop,
    }
    save_for_hf(
        model.module, str(target), {"label_names": list(classes)}, safe_serialization=True, data_config=data
    )
    _drop_tag(target / folder.CONFIG)


def _drop_tag(config: Path) -> None:
    """timm writes the tag of its own default weights, which these are not."""
    content = json.loads(config.read_text(encoding="utf-8"))
    content["pretrained_cfg"].pop("tag", None)
    config.write_text(json.dumps(content, indent=2), encoding="utf-8")


def _create(
    origin: Origin, name: str, pretrained: bool, classes: int | None, dropout: float | None, size: int | None
) -> nn.Module:
    """Build with timm; None leaves an argument to timm or to the checkpoint's own config."""
    overlay = {"file": str(origin.weights)} if pretrained and origin.weights else None
    try:
        module: nn.Module = timm.create_model(
            origin.name,
            pretrained=pretrained,
            pretrained_cfg_overlay=overlay,
            num_classes=classes,
            drop_rate=dropout,
            img_size=size,
        )
    except (RuntimeError, TypeError, ValueError, AssertionError, KeyError) as error:
        at = f" at {size} x {size} pixels" if size else ""
        what = "the weights do not fit" if pretrained else "the architecture cannot be built"
        raise CandidateError(f"{name}: {what}{at}. {summary(error, lines=8)}") from error
    return module
