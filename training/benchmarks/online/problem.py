"""What a problem of the benchmark is: a network, its data, and hyperparameters that regularise it.

B = batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.finetune.self_tuning.layers import Setting, dropped

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Data:
    """Inputs (n, ...) and labels (n, ...) of one part."""

    inputs: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Measured:
    """Mean cross-entropy, nats, and accuracy in [0, 1] of one part."""

    loss: float
    accuracy: float


class Regularised(nn.Module):
    """A network that regularises itself while `values` are set, and not at all while they are empty."""

    def __init__(self) -> None:
        super().__init__()
        self.values: Mapping[str, Tensor] = {}

    def dropped(self, features: Tensor, name: str) -> Tensor:
        """Features (B, ...) with some dropped, each example at its own rate of that name."""
        return dropped(features, Setting(features, self.values), name)

    def penalty(self) -> Tensor | float:
        """What the last forward pass adds to the training loss."""
        return 0.0


class Problem(ABC):
    """One network on one dataset.

    Attributes:
        name: of the problem.
        tunables: its hyperparameters, h.
        data: the three parts. Validation is what hyperparameters are chosen, or tuned, on.
        epochs: of one run.
        batch_size: B.
        rate: learning rate of Adam.
    """

    name: str
    tunables: tuple[Tunable, ...]
    data: Mapping[Part, Data]
    epochs: int
    batch_size: int
    rate: float

    @abstractmethod
    def network(self, seed: int) -> Regularised:
        """A network with weights that the seed fixes."""

    def augmented(self, inputs: Tensor, values: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Inputs as training sees them, each changed at its own strengths."""
        return inputs

    def prepared(self, inputs: Tensor) -> Tensor:
        """Inputs as validation sees them."""
        return inputs

    def defaults(self) -> list[float]:
        """Where the hyperparameters (h,) start, unconstrained."""
        return [tunable.unconstrain(tunable.start) for tunable in self.tunables]

    def steps(self) -> int:
        """Of one epoch."""
        return len(self.data["train"]) // self.batch_size

    def measured(self, network: nn.Module, part: Part) -> Measured:
        """Loss and accuracy of a plain network, without regularisation."""
        data, loss, right = self.data[part], 0.0, 0
        network.eval()
        with torch.inference_mode():
            for start in range(0, len(data), 250):
                labels = data.labels[start : start + 250].flatten()
                logits = network(self.prepared(data.inputs[start : start + 250])).flatten(0, -2)
                loss += float(cross_entropy(logits, labels, reduction="sum"))
                right += int((logits.argmax(dim=1) == labels).sum())
        return Measured(loss / data.labels.numel(), right / data.labels.numel())
