"""The one door to timm: its registry, its networks, its folder layout."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import timm
from timm.data import resolve_model_data_config
from torch import Tensor, nn

from fms_hub.errors import CandidateError
from fms_hub.models.model import InputSpec, Model, first_line, require_logits, seeded


@runtime_checkable
class TimmNetwork(Protocol):
    """What every timm classifier offers (timm has no common base class)."""

    pretrained_cfg: dict[str, Any]

    def get_classifier(self) -> nn.Module | tuple[nn.Module, ...]:
        """The classification head, or heads."""

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the head."""

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Patterns that order the parameters from stem to head."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where timm finds an architecture and its weights.

    Attributes:
        name: what ``timm.create_model`` is called with: ``resnet18.a1_in1k`` or ``local-dir:FOLDER``.
        weights: a safetensors file that replaces the registry's own download, else None.
    """

    name: str
    weights: Path | None = None


@dataclasses.dataclass(frozen=True)
class Head:
    """What a build asks for beyond the architecture."""

    classes: int
    dropout: float
    image_size: int | None


def build(origin: Origin, head: Head, *, name: str, seed: int, weights: bool) -> Model:
    """A timm network with a new head; its backbone is filled from `origin` where `weights` is true.

    Raises:
        CandidateError: the architecture refuses the image size, or a backbone tensor is absent or misshapen.
    """
    with seeded(seed):
        module = _create(
            origin,
            name,
            pretrained=False,
            num_classes=head.classes,
            drop_rate=head.dropout,
            img_size=_fixed_size(origin, head.image_size),
        )
    spec = input_spec(module, head.image_size)
    if weights:
        _fill(module, origin, name, head.image_size)
    if spec.size != input_spec(module).size:
        require_logits(module, name, head.classes, spec.size)
    return Model(module, spec)


def _fill(module: nn.Module, origin: Origin, name: str, image_size: int | None) -> None:
    """Copy the pretrained backbone into `module`; timm loads it strictly under its own head first."""
    pretrained = _create(origin, name, pretrained=True, img_size=_fixed_size(origin, image_size)).state_dict()
    for key in head_names(module):
        pretrained.pop(key, None)
    copy_backbone(pretrained, module, head_names(module), name)


def copy_backbone(state: dict[str, Tensor], module: nn.Module, head: frozenset[str], name: str) -> None:
    """Load `state` into `module`, strictly but for the tensors named in `head`.

    Raises:
        CandidateError: a tensor is absent, left over, of another shape, or not finite.
    """
    own = module.state_dict()
    absent = sorted(own.keys() - state.keys() - head)
    surplus = sorted(state.keys() - own.keys())
    misshapen = sorted(k for k in state.keys() & own.keys() if state[k].shape != own[k].shape)
    broken = sorted(k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all()))
    faults = [
        f"{what}: {', '.join(keys[:8])}{' ...' if len(keys) > 8 else ''}"
        for what, keys in (
            ("absent", absent),
            ("left over", surplus),
            ("misshapen", misshapen),
            ("not finite", broken),
        )
        if keys
    ]
    if faults:
        raise CandidateError(
            f"the weights of {name} do not fit its architecture ({'; '.join(faults)}). "
            "Check that config.json and the safetensors file belong together."
        )
    module.load_state_dict(state, strict=False)


def head_names(module: nn.Module) -> frozenset[str]:
    """State dict keys of the classification head."""
    assert isinstance(module, TimmNetwork)
    heads = module.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    prefixes = [path for path, child in module.named_modules() if path and any(child is h for h in heads)]
    return frozenset(k for k in module.state_dict() if any(k.startswith(f"{p}.") for p in prefixes))


def input_spec(module: nn.Module, image_size: int | None = None) -> InputSpec:
    """How a timm network wants its images; `image_size` replaces its own size."""
    config = resolve_model_data_config(module)
    return InputSpec(
        size=image_size or int(config["input_size"][-1]),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation=str(config["interpolation"]),
        crop=float(config["crop_pct"]),
    )


def _fixed_size(origin: Origin, image_size: int | None) -> int | None:
    """The ``img_size`` argument where the architecture is built for one size, else None."""
    return image_size if image_size and _config(origin).get("fixed_input_size") else None


def _config(origin: Origin) -> dict[str, Any]:
    if origin.name.startswith("local-dir:"):
        return dict(timm.models.load_model_config_from_path(origin.name.removeprefix("local-dir:"))[0])
    return timm.models.get_pretrained_cfg(origin.name, allow_unregistered=False).to_dict()


def _create(origin: Origin, name: str, **arguments: Any) -> nn.Module:
    overlay = {"file": str(origin.weights)} if origin.weights and arguments["pretrained"] else None
    try:
        module: nn.Module = timm.create_model(origin.name, pretrained_cfg_overlay=overlay, **arguments)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        size = arguments.get("img_size")
        at = f" at {size} x {size} pixels" if size else ""
        raise CandidateError(f"{name} cannot be built{at}: {error}") from error
    return module
