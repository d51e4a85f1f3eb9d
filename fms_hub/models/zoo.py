"""From a candidate to a network with a fresh head, and from a network to a folder that others can open.

timm's door is `fms_hub.models.from_timm`; transformers' is `fms_hub.models.from_transformers`, an
optional extra that is imported only when a candidate needs it (`fms_hub.models.opening`).
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from fms_hub.errors import CandidateError
from fms_hub.models import folder, from_timm, opening, own_module
from fms_hub.models.model import InputSpec, Model, Request
from fms_hub.records import Candidate

__all__ = ["InputSpec", "Model", "build", "ensure_local", "export", "heads", "layer_groups"]


def build(
    candidate: Candidate,
    *,
    classes: int,
    dropout: float = 0.0,
    image_size: int | None = None,
    seed: int = 0,
    weights: bool = True,
) -> Model:
    """A candidate's network with a new classification head, on the CPU, in training mode.

    Args:
        candidate: what to build.
        classes: outputs of the new head, >= 2.
        dropout: probability of dropping a feature in front of the head, in [0, 1).
        image_size: pixels; None means the candidate's own.
        seed: of the random initialisation; the caller's generator is left as it was.
        weights: False leaves the pretrained weights out, for a network that is filled from a checkpoint.

    Raises:
        CandidateError: the weights are unreadable, do not fit, or changed since the candidate was resolved,
            or the architecture cannot take this image size.
        HubError: the weights are not on this disk and could not be fetched.
    """
    request = Request(candidate.name, classes, dropout, image_size, seed, weights)
    match candidate.source:
        case "scratch":
            origin = from_timm.origin_of_name(candidate.architecture)
            return from_timm.build(origin, dataclasses.replace(request, weights=False))
        case "module" if isinstance(candidate.module, from_timm.TimmNetwork):
            return from_timm.build_copy(candidate.module, request)
        case "module":
            return own_module.build(candidate.module, request)
        case "timm" if opening.is_registered(candidate):
            return from_timm.build(opening.registered_origin(candidate, weights), request)
        case _:
            return _build_folder(opening.open_checkpoint(candidate), candidate, request)


def ensure_local(candidate: Candidate) -> None:
    """Bring a candidate's weights to this disk and see that their library knows them, before time is spent.

    Raises:
        CandidateError: the folder or its weights cannot be used, or an optional library is absent.
        HubError: the Hub refused, or cannot be reached while the weights are not on this disk.
    """
    if candidate.source in ("scratch", "module"):
        return
    if candidate.source == "timm" and opening.is_registered(candidate):
        opening.registered_origin(candidate, weights=True)
        return
    opened = opening.open_checkpoint(candidate)
    if opened.layout == "timm":
        from_timm.origin_of_folder(opened)
    else:
        opening.transformers_door(candidate.name).require_classifier(opened)


def layer_groups(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """All parameter names, each once, in groups from stem to head.

    timm networks bring their own grouping. For others a group is one block of a container or one layer, in
    the order of the module, which is taken to be the order of the computation.
    """
    if isinstance(module, from_timm.TimmNetwork):
        return from_timm.layer_groups(module)
    return own_module.layer_groups(module)


def heads(model: Model, candidate: Candidate) -> tuple[nn.Module, ...]:
    """The layers that make logits of features, within the network; several in distilled networks.

    Args:
        model: from `build` or `fms_hub.models.original.load`, of this candidate.
        candidate: what it was built from.

    Raises:
        CandidateError: a user's own module without a linear layer.
    """
    if isinstance(model.module, from_timm.TimmNetwork):
        return from_timm.heads(model.module)
    if candidate.source == "module":
        return own_module.heads(model.module, candidate.name)
    found: tuple[nn.Module, ...] = opening.transformers_door(candidate.name).heads(model.module)
    return found


def export(
    model: Model, candidate: Candidate, classes: tuple[str, ...], target: Path, *, half: bool = False
) -> None:
    """Write a network as model.safetensors and config.json; config.json comes last.

    A timm network opens with ``timm.create_model("local-dir:TARGET", pretrained=True)``, a transformers
    network with ``AutoModelForImageClassification.from_pretrained(TARGET)``. Of a user's own module the
    state dict is written and what is needed to use it; only its own code can open it.

    Args:
        model: from `build`, of this candidate.
        candidate: what it was built from.
        classes: class names, index = label.
        target: the folder; made where absent, files of the same names are replaced.
        half: store weights of two and more dimensions as float16; statistics, biases and scales stay float32.

    Raises:
        OSError: the folder cannot be written.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".draft-") as draft:
        written = Path(draft)
        if isinstance(model.module, from_timm.TimmNetwork):
            from_timm.write_folder(model, classes, written)
        elif candidate.source == "module":
            _write_module(model, candidate, classes, written)
        else:
            opening.transformers_door(candidate.name).write_folder(model, classes, written)
        if half:
            _halve(written / folder.WEIGHTS)
        for file in sorted(written.iterdir(), key=lambda item: item.name == folder.CONFIG):
            file.replace(target / file.name)


def _build_folder(opened: folder.CheckpointFolder, candidate: Candidate, request: Request) -> Model:
    if (
        candidate.source == "folder"
        and request.weights
        and folder.fingerprint(opened) != candidate.fingerprint
    ):
        raise CandidateError(
            f"{candidate.name}: the weights in {opened.path} are not those that were resolved "
            f"(expected sha256 {candidate.fingerprint[:12]}). Resolve the candidate again."
        )
    if opened.layout == "timm":
        return from_timm.build(from_timm.origin_of_folder(opened), request)
    built: Model = opening.transformers_door(candidate.name).build(opened, request)
    return built


def _write_module(model: Model, candidate: Candidate, classes: tuple[str, ...], target: Path) -> None:
    state = {
        key: value.detach().cpu().clone().contiguous() for key, value in model.module.state_dict().items()
    }
    save_file(state, target / folder.WEIGHTS)
    config = {
        "module": candidate.architecture,
        "num_classes": len(classes),
        "label_names": list(classes),
        "input": dataclasses.asdict(model.input),
    }
    (target / folder.CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")


def _halve(file: Path) -> None:
    save_file({key: _half(value) for key, value in load_file(file).items()}, file)


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() and tensor.ndim > 1 else tensor
