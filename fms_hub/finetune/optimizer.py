"""The optimiser: parameter groups, frozen layers, the schedule, and its state as named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn
from torch.nn import Parameter

from fms_hub.errors import CheckpointError
from fms_hub.finetune.recipe import Recipe

LayerGroups = Sequence[Sequence[str]]
"""Parameter names from stem to head; the last group is the head."""


def freeze(module: nn.Module, groups: LayerGroups, fraction: float) -> None:
    """Keep the given fraction of the backbone's layer groups, from the stem, fixed; never the head."""
    parameters = dict(module.named_parameters())
    for group in groups[: round(fraction * (len(groups) - 1))]:
        for name in group:
            parameters[name].requires_grad_(False)


def train_mode(module: nn.Module) -> None:
    """Training mode, but evaluation mode wherever all parameters are frozen: norm statistics stay, too."""
    module.train()
    for part in module.modules():
        parameters = list(part.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            part.eval()


def trained_by(optimizer: torch.optim.Optimizer) -> list[Parameter]:
    """All that it changes; to walk through the modules for them takes a twentieth of a small net's step."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to kernels and matrices, not to biases, norms or position embeddings."""
    return parameter.ndim >= 2 and name.endswith("weight")


def parameter_groups(module: nn.Module, groups: LayerGroups, recipe: Recipe) -> list[dict[str, Any]]:
    """Groups for timm's optimisers, with ``lr_scale`` = layer_decay ** (number of layer groups above)."""
    parameters = {n: p for n, p in module.named_parameters() if p.requires_grad}
    members: dict[tuple[float, float], list[Parameter]] = {}
    for depth, names in enumerate(groups):
        scale = recipe.layer_decay ** (len(groups) - 1 - depth)
        for name in names:
            if name in parameters:
                weight_decay = recipe.weight_decay if decays(name, parameters[name]) else 0.0
                members.setdefault((scale, weight_decay), []).append(parameters[name])
    return [
        {"params": chosen, "lr_scale": scale, "weight_decay": weight_decay}
        for (scale, weight_decay), chosen in members.items()
    ]


def build_optimizer(module: nn.Module, groups: LayerGroups, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW or SGD over the parameters that are not frozen."""
    # Nesterov's form does not exist without momentum; timm calls plain SGD "momentum".
    plain = recipe.optimizer == "sgd" and recipe.momentum == 0
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        parameter_groups(module, groups, recipe),
        opt="momentum" if plain else recipe.optimizer,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        fused=next(module.parameters()).device.type in ("cpu", "cuda"),
    )
    return optimizer


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up, then a cosine to zero at the horizon (Loshchilov and Hutter, 2017), in closed form.

    Attributes:
        horizon: epochs of the full run, >= 1.
    """

    horizon: int

    @property
    def warmup(self) -> float:
        """Length of the warm-up in epochs: a twentieth of the horizon, at most one epoch."""
        return min(1.0, 0.05 * self.horizon)

    def factor(self, progress: float) -> float:
        """Fraction of the peak learning rate after `progress` epochs, in [0, 1]; 0 <= progress <= horizon."""
        rise = min(1.0, progress / self.warmup)
        return rise * 0.5 * (1.0 + math.cos(math.pi * progress / self.horizon))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every group its layer's share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["lr_scale"]


def optimizer_tensors(optimizer: torch.optim.Optimizer, module: nn.Module) -> dict[str, Tensor]:
    """The optimiser's state as ``<state>/<parameter>`` -> CPU tensor."""
    flat = {}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                flat[f"{key}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
    return flat


def restore_optimizer(
    optimizer: torch.optim.Optimizer, module: nn.Module, flat: Mapping[str, Tensor]
) -> None:
    """Put saved tensors back into a freshly built optimiser over the same parameters.

    Raises:
        CheckpointError: a tensor belongs to no trained parameter, or has not its shape.
    """
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    for path, value in flat.items():
        key, _, name = path.partition("/")
        if name not in trained or (value.ndim > 0 and value.shape != trained[name].shape):
            raise CheckpointError(
                f"the optimiser state {path!r} of shape {tuple(value.shape)} fits no trained parameter; "
                "the checkpoint belongs to another architecture or recipe. Train this run again."
            )
        optimizer.state[trained[name]][key] = _like(value, trained[name])


def _like(value: Tensor, parameter: Parameter) -> Tensor:
    """On the parameter's device and in its memory layout, which fused optimisers take for granted."""
    if value.ndim == 0:
        return value.to(parameter.device, copy=True) if parameter.is_cuda else value.clone()
    return torch.empty_like(parameter, requires_grad=False).copy_(value)
