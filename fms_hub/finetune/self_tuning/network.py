"""A self-tuning network: `self_tuning` makes one of a plain network, `fold` makes a plain network of one.

B = batch, k = classes, h = hyperparameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from fms_hub.errors import CandidateError, UsageError
from fms_hub.finetune.self_tuning.convert import (
    Convertible,
    Hyper,
    converted,
    convertible,
    folded,
    paths_of,
)
from fms_hub.finetune.self_tuning.hyperparameters import Hyperparameters, Tunable, named_tunables
from fms_hub.finetune.self_tuning.layers import Setting, Signal
from fms_hub.models.zoo import Model, layer_groups
from fms_hub.seeding import seeded
from fms_hub.tasks.splits import listed

Layers = Literal["all", "head"]
TUNED = (
    "dropout",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "cutout_length",
    "cutout_number",
)
"""What is tuned where nothing else is asked for.

Weight decay is left out: what it does shows late in a run, when its gradient has pointed elsewhere for long.
"""
_DROPOUT = ("dropout", "hidden_dropout")


class SelfTuning(nn.Module):
    """A network whose weights respond to hyperparameters that are tuned with them.

    Args:
        network: with converted layers.
        signal: that those layers listen to.
        hyperparameters: what is tuned.

    Attributes:
        network, hyperparameters: as given.
    """

    def __init__(self, network: nn.Module, signal: Signal, hyperparameters: Hyperparameters) -> None:
        super().__init__()
        self.network = network
        self.hyperparameters = hyperparameters
        self._signal = signal

    def forward(self, inputs: Tensor, unconstrained: Tensor, *, drop: bool = False) -> Tensor:
        """Logits (B, k) of inputs (B, ...), each at its own hyperparameters (B, h).

        Args:
            inputs: what the network takes.
            unconstrained: the hyperparameters; they reach the logits through the weights' response.
            drop: whether the layers drop features at the rates among the hyperparameters.
        """
        rates = {}
        if drop:
            applied = self.hyperparameters.applied(unconstrained.detach())
            rates = {name: applied[name] for name in _DROPOUT if name in applied}
        setting = Setting(self.hyperparameters.offsets(unconstrained), rates)
        with self._signal.carrying(setting):
            logits: Tensor = self.network(inputs)
        return logits

    def squared_norm(self, unconstrained: Tensor) -> Tensor:
        """Squared norm of all converted layers' effective weights, (B,) of hyperparameters (B, h)."""
        offsets = self.hyperparameters.offsets(unconstrained)
        norms = [layer.squared_norm(offsets) for layer in self.network.modules() if isinstance(layer, Hyper)]
        return torch.stack(norms).sum(dim=0)


def self_tuning(
    model: Model,
    tune: Sequence[str] = TUNED,
    layers: Layers = "all",
    *,
    starts: Mapping[str, float] | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> SelfTuning:
    """Give the linear layers and convolutions of a network a response to hyperparameters.

    The function stays exactly what it was, whatever the hyperparameters are. Layers that cannot be converted
    stay as they are, and one warning names them.

    Args:
        model: a network and how its images are prepared; it is copied. Build it without dropout of its own
            where dropout is tuned.
        tune: names in `fms_hub.finetune.self_tuning.hyperparameters.TUNABLES`.
        layers: ``"all"`` that are trained, or the ``"head"`` alone.
        starts: where tuning begins, by name; what is missing takes its default.
        seed: of the response's first weights; the caller's generators stay as they were.
        quiet: whether the layers that are left are not named.

    Raises:
        SpaceError: a name is unknown, or a start out of range.
        UsageError: `layers` is neither.
        CandidateError: no layer can be converted.
    """
    if layers not in ("all", "head"):
        raise UsageError(f"layers must be 'all' or 'head', found {layers!r}.")
    tunables = named_tunables(tune)
    weight = next(model.module.parameters())
    with seeded(seed):
        # Drawn on the CPU, so that all devices see the same.
        examples = torch.randn(3, len(model.input.mean), model.input.size, model.input.size)
        found = convertible(model.module, examples.to(weight.device, weight.dtype))
        head = paths_of(layer_groups(model.module)[-1], found.layers)
        if layers == "head":
            found = Convertible({path: found.layers[path] for path in head}, {})
        if not quiet:
            _tell(found)
        return _assembled(model.module, found, _rates(found, head), tunables, starts)


def responding(
    module: nn.Module, examples: Tensor, tunables: Sequence[Tunable], *, seed: int = 0
) -> SelfTuning:
    """The same for any network and any hyperparameters, which it does not apply by itself.

    Args:
        module: the network; it is copied.
        examples: three inputs of it that differ, (3, ...).
        tunables: what is tuned.
        seed: of the response's first weights.

    Raises:
        CandidateError: no layer can be converted.
    """
    with seeded(seed):
        return _assembled(module, convertible(module, examples), {}, tunables, None)


def fold(model: SelfTuning) -> nn.Module:
    """The plain network, of the original classes, that does the same at the hyperparameters reached."""
    hyperparameters = model.hyperparameters
    return folded(model.network, hyperparameters.offsets(hyperparameters.centre.detach()))


def _assembled(
    module: nn.Module,
    found: Convertible,
    rates: Mapping[str, str],
    tunables: Sequence[Tunable],
    starts: Mapping[str, float] | None,
) -> SelfTuning:
    if not found.layers:
        raise CandidateError(
            f"self-tuning needs a trained linear layer or convolution that it can convert, found none in "
            f"{type(module).__name__}. Fine-tune it with self_tuning=False."
        )
    hyperparameters = Hyperparameters(tunables, starts).to(next(module.parameters()).device)
    signal = Signal()
    network = converted(module, found.layers, signal, len(tunables), rates)
    return SelfTuning(network, signal, hyperparameters)


def _rates(found: Convertible, head: Sequence[str]) -> dict[str, str]:
    """Which dropout rate applies to the input of which layer; none to that of the first, the pixels."""
    inner = [path for path in list(found.layers)[1:] if path not in head]
    return dict.fromkeys(inner, "hidden_dropout") | dict.fromkeys(head, "dropout")


def _tell(found: Convertible) -> None:
    if found.left:
        named = [f"{path or 'the network'} ({why})" for path, why in found.left.items()]
        warnings.warn(
            f"self-tuning leaves {len(named)} of {len(named) + len(found.layers)} layers as they are, "
            f"without a response: {listed(named, 10)}.",
            stacklevel=3,
        )
