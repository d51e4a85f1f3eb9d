"""Hyperparameters that are tuned during a run: their ranges, and where they stand in an unconstrained space.

h = hyperparameters, B = batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fms_hub.errors import SpaceError

SPREAD = 0.5
"""Standard deviation of the first perturbations, in the unconstrained space."""
_REACH = 6.0
"""Centres stay within +- this; beyond it a logistic function has less than 0.25 % of its range left."""


@dataclass(frozen=True)
class Tunable:
    """One hyperparameter and its mapping u -> low + (high - low) * logistic(u), or the same of logarithms.

    Attributes:
        name: what it is called.
        low, high: ends of its range, which no finite u reaches; low > 0 where it is logarithmic.
        start: where tuning begins, within the range.
        log: whether its logarithm is what is mapped.
        whole: whether it is rounded where it is applied. The gradient of the validation loss passes through
            the response of the weights alone, so that rounding does no harm (MacKay et al., 2019).
    """

    name: str
    low: float
    high: float
    start: float
    log: bool = False
    whole: bool = False

    def __post_init__(self) -> None:
        floor = self.low > 0 or not self.log
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high and floor):
            raise SpaceError(
                f"the range of {self.name!r} must be finite and rise, from above 0 if it is logarithmic; "
                f"found {self.low} .. {self.high}."
            )
        self.unconstrain(self.start)

    def constrain(self, unconstrained: Tensor) -> Tensor:
        """Values in the range, of any shape, not rounded."""
        share = unconstrained.sigmoid()
        if not self.log:
            return self.low + (self.high - self.low) * share
        return self.low * torch.exp(share * math.log(self.high / self.low))

    def applied(self, unconstrained: Tensor) -> Tensor:
        """Values as training uses them: rounded where the hyperparameter is a whole number."""
        values = self.constrain(unconstrained)
        return values.round() if self.whole else values

    def unconstrain(self, value: float) -> float:
        """Inverse of `constrain`, in [-6, 6]: the ends of the range become points close to them.

        Raises:
            SpaceError: the value lies outside the range.
        """
        if not self.low <= value <= self.high:
            raise SpaceError(
                f"the hyperparameter {self.name!r} must start in [{self.low:g}, {self.high:g}], "
                f"found {value}."
            )
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        nearest = 1.0 / (1.0 + math.exp(_REACH))
        share = min(max(share, nearest), 1.0 - nearest)
        return math.log(share / (1.0 - share))


TUNABLES: Mapping[str, Tunable] = {
    tunable.name: tunable
    for tunable in (
        Tunable("dropout", 0.0, 0.95, 0.05),
        Tunable("hidden_dropout", 0.0, 0.95, 0.02),
        Tunable("brightness", 0.0, 1.0, 0.05),
        Tunable("contrast", 0.0, 1.0, 0.05),
        Tunable("saturation", 0.0, 1.0, 0.05),
        Tunable("hue", 0.0, 0.5, 0.02),
        Tunable("cutout_length", 0.0, 0.75, 0.1),
        Tunable("cutout_number", 0.0, 4.0, 1.0, whole=True),
        Tunable("weight_decay", 1e-7, 1e-1, 1e-4, log=True),
    )
}
"""What a self-tuning network can tune by name.

dropout: of each image's features in front of the head. hidden_dropout: of the inputs of the other converted
layers but the first. brightness, contrast, saturation: a factor is drawn from 1 - value .. 1 + value. hue: a
turn is drawn from -value .. value, 1 being the whole circle. cutout_length: side of the squares, as a share
of the image's. cutout_number: how many squares. weight_decay: half of it times the squared norm of the
converted layers' effective weights is added to the training loss.
"""


def named_tunables(names: Sequence[str]) -> tuple[Tunable, ...]:
    """The tunables of these names.

    Raises:
        SpaceError: there are none, one is unknown, or one is named twice.
    """
    unknown = [name for name in names if name not in TUNABLES]
    if unknown or not names or len(set(names)) != len(names):
        raise SpaceError(
            f"self-tuning tunes one or more of {', '.join(TUNABLES)}, each once; found "
            f"{', '.join(names) or 'nothing'}."
        )
    return tuple(TUNABLES[name] for name in names)


class Hyperparameters(nn.Module):
    """Where the hyperparameters stand, and how widely they are perturbed: both are learned.

    Args:
        tunables: what is tuned, h >= 1.
        starts: values that replace the tunables' own starts, by name.
        spread: standard deviation of the first perturbations, > 0.

    Raises:
        SpaceError: a start lies outside its range.
    """

    def __init__(
        self, tunables: Sequence[Tunable], starts: Mapping[str, float] | None = None, spread: float = SPREAD
    ) -> None:
        super().__init__()
        chosen = {tunable.name: tunable.start for tunable in tunables} | dict(starts or {})
        start = torch.tensor([tunable.unconstrain(chosen[tunable.name]) for tunable in tunables])
        self.tunables = tuple(tunables)
        self.centre = nn.Parameter(start.clone())
        self.raw_spread = nn.Parameter(torch.full_like(start, math.log(math.expm1(spread))))
        self.start: Tensor
        self.register_buffer("start", start)

    @property
    def spread(self) -> Tensor:
        """Standard deviation of the perturbations, (h,), > 0."""
        return F.softplus(self.raw_spread)

    def perturbed(self, examples: int, generator: torch.Generator) -> Tensor:
        """A draw (B, h) around the centre, differentiable in centre and spread; noise from the CPU."""
        noise = torch.randn(examples, len(self.centre), generator=generator, dtype=self.centre.dtype)
        return self.centre + self.spread * noise.to(self.centre.device)

    def offsets(self, unconstrained: Tensor) -> Tensor:
        """What the layers respond to: the way from the start, so that they begin with small numbers."""
        return unconstrained - self.start

    def applied(self, unconstrained: Tensor) -> dict[str, Tensor]:
        """Values (B,) by name, as training uses them, of points (B, h)."""
        columns = unconstrained.unbind(dim=-1)
        return {
            tunable.name: tunable.applied(column)
            for tunable, column in zip(self.tunables, columns, strict=True)
        }

    def values(self) -> dict[str, float]:
        """The value at the centre by name, not rounded."""
        return {
            tunable.name: float(tunable.constrain(column))
            for tunable, column in zip(self.tunables, self.centre.detach().unbind(), strict=True)
        }

    def entropy(self) -> Tensor:
        """Of the Gaussian perturbations, nats: the sum of log(spread) + log(2 pi e) / 2."""
        return (self.spread.log() + 0.5 * math.log(2 * math.pi * math.e)).sum()

    def keep_within_reach(self) -> None:
        """Take the centre back to where the mapping still moves, in place."""
        with torch.no_grad():
            self.centre.clamp_(-_REACH, _REACH)
