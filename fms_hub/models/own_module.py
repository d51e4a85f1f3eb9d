"""Candidates that are the user's own ``nn.Module``."""

from __future__ import annotations

import copy
import hashlib
import itertools

import torch
from torch import nn

from fms_hub.errors import CandidateError
from fms_hub.models.model import HeadDropout, InputSpec, Model, Request, require_logits
from fms_hub.seeding import seeded_on_cpu

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DEFAULT_SIZE = 224


def fingerprint(module: nn.Module) -> str:
    """sha256 over names, types, shapes and values of a state dict."""
    digest = hashlib.sha256()
    for key, value in sorted(module.state_dict().items()):
        tensor = value.detach().cpu().contiguous()
        digest.update(f"{key}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def build(module: nn.Module, request: Request) -> Model:
    """A copy of a module whose last linear layer has the asked number of outputs.

    A last linear layer that already has it is kept with its weights. Images are prepared as for ImageNet.

    Raises:
        CandidateError: the module has no linear layer, or does not map images to (B, classes).
    """
    copied = copy.deepcopy(module).cpu().float()
    path, last = _last_linear(copied, request.name)
    if last.out_features != request.classes:
        with seeded_on_cpu(request.seed):
            last = nn.Linear(last.in_features, request.classes, bias=last.bias is not None)
        copied.set_submodule(path, last)
    if request.dropout > 0:
        last.register_forward_pre_hook(HeadDropout(request.dropout))
    spec = InputSpec(request.image_size or _DEFAULT_SIZE, _IMAGENET_MEAN, _IMAGENET_STD, "bicubic", 1.0)
    require_logits(copied, request.name, request.classes, spec.size)
    return Model(copied, spec)


def heads(module: nn.Module, name: str) -> tuple[nn.Module, ...]:
    """The one layer of a module that `build` takes for its head.

    Raises:
        CandidateError: the module has no linear layer.
    """
    return (_last_linear(module, name)[1],)


def layer_groups(module: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Parameter names in module order, one group for each block of a container or unnumbered layer."""
    names = (name for name, _ in module.named_parameters())
    return tuple(tuple(group) for _, group in itertools.groupby(names, key=_block))


def _block(name: str) -> tuple[str, ...]:
    """``net.blocks.3.mlp.weight`` -> ``(net, blocks, 3)``; ``net.stem.conv.weight`` -> ``(net, stem)``."""
    owner = name.split(".")[:-1]
    numbered = [index for index, part in enumerate(owner) if part.isdigit()]
    return tuple(owner[: numbered[0] + 1] if numbered else owner[:2])


def _last_linear(module: nn.Module, name: str) -> tuple[str, nn.Linear]:
    found = [(path, child) for path, child in module.named_modules() if path and isinstance(child, nn.Linear)]
    if not found:
        raise CandidateError(
            f"{name} has no nn.Linear below it that could become the head. "
            "End the module in one; its number of outputs does not matter."
        )
    return found[-1]
