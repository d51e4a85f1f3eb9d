"""The meta-trained encoder: from the kernel's columns to a latent point and a prior mean.

n = rows, D = columns of the groups, see `fms_hub.surrogate.scaling`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.surrogate.kernel import Group

LATENT = "latent"
"""The group that an encoder adds."""


@dataclass(frozen=True)
class Encoded:
    """What an encoder says of n rows: latent points (n, L) and prior means (n,) of the scores."""

    latent: Tensor
    mean: Tensor


class Encoder(nn.Module):
    """One linear layer per group of inputs, their sum through a small network.

    Learned on many searches (deep kernel learning: A. G. Wilson et al., "Deep Kernel Learning", 2016), never
    fitted to one. The candidate's number, which means something else in every search, is not read.

    Args:
        groups: of the columns, in their order.
        width: of the hidden layers.
        latent: L, dimensions of the latent points.
        dropout: share of hidden units dropped in training.
    """

    def __init__(
        self, groups: tuple[Group, ...], *, width: int = 64, latent: int = 16, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.groups, self.width, self.latent = groups, width, latent
        self.entries = nn.ModuleDict(
            {group.name: nn.Linear(group.width + 1, width) for group in groups if not group.categorical}
        )
        self.body = nn.Sequential(
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.to_latent = nn.Linear(width, latent)
        self.to_mean = nn.Linear(width, 1)

    def forward(self, columns: Tensor) -> Encoded:
        """Encode rows, (n, D); a row's absent groups are zeros with presence bit zero."""
        blocks = torch.split(columns, [group.width + 1 for group in self.groups], dim=-1)
        total = torch.zeros((), dtype=columns.dtype)
        for group, block in zip(self.groups, blocks, strict=True):
            if not group.categorical:
                total = total + self.entries[group.name](block)
        hidden = self.body(total)
        return Encoded(self.to_latent(hidden), self.to_mean(hidden).squeeze(-1))
