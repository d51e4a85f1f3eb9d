"""A problem of text: a small LSTM predicts the next character of Python's own standard library.

B = batch, T = characters of a window, E = features.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.seeding import seeded
from training.benchmarks.online.problem import Data, Part, Problem, Regularised

MODULES = ("argparse", "calendar", "configparser", "csv", "difflib", "gettext", "mailbox", "optparse", "pdb")
"""Of the standard library; their text differs a little from one Python to the next."""
WINDOW = 32
_BLOCK = 40
"""Windows that stay together, so that parts do not interleave within a function."""
_FEATURES = 96
_RATES = ("word_dropout", "input_dropout", "first_hidden", "second_hidden", "output_dropout")


class Cell(nn.Module):
    """One LSTM layer, written out so that its two linear maps can respond to hyperparameters."""

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.of_input = nn.Linear(inputs, 4 * features)
        self.of_hidden = nn.Linear(features, 4 * features, bias=False)
        self.features = features

    def forward(self, sequence: Tensor, keep: Tensor) -> Tensor:
        """Hidden states (B, T, E) of a sequence (B, T, inputs); `keep` (B, E) masks the recurrent ones."""
        hidden = cell = sequence.new_zeros(len(sequence), self.features)
        states = []
        for step in self.of_input(sequence).unbind(dim=1):
            into, forget, new, out = (step + self.of_hidden(hidden * keep)).chunk(4, dim=1)
            cell = torch.sigmoid(forget + 1) * cell + torch.sigmoid(into) * torch.tanh(new)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, dim=1)


class SmallLSTM(Regularised):
    """Two LSTM layers, regularised as by Merity et al. (2018) but for the dropped connections."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, _FEATURES)
        self.first, self.second = Cell(_FEATURES, _FEATURES), Cell(_FEATURES, _FEATURES)
        self.head = nn.Linear(_FEATURES, characters)
        self._activity: Tensor | float = 0.0

    def forward(self, characters: Tensor) -> Tensor:
        """Logits (B, T, characters)."""
        embedded = self.embedding(characters)
        embedded = embedded * self.dropped(torch.ones_like(embedded[..., :1]), "word_dropout")
        across = torch.ones_like(embedded[:, 0])
        hidden = self.first(
            embedded * self.dropped(across, "input_dropout")[:, None], self.dropped(across, "first_hidden")
        )
        hidden = self.second(hidden, self.dropped(across, "second_hidden"))
        output = hidden * self.dropped(across, "output_dropout")[:, None]
        self._activity = self._regularisation(output, hidden)
        logits: Tensor = self.head(output)
        return logits

    def _regularisation(self, output: Tensor, hidden: Tensor) -> Tensor | float:
        """Mean squares of the outputs, and of the changes of the hidden states, at their strengths (B,)."""
        if not self.values:
            return 0.0
        sizes = output.square().mean(dim=(1, 2))
        changes = hidden.diff(dim=1).square().mean(dim=(1, 2))
        return (self.values["activity"] * sizes + self.values["change"] * changes).mean()

    def penalty(self) -> Tensor | float:
        """Of the activities of the last forward pass, once."""
        activity, self._activity = self._activity, 0.0
        return activity


class Text(Problem):
    """Seven hyperparameters: five dropout rates, two strengths of activity regularisation."""

    name, epochs, batch_size, rate = "text", 16, 32, 3e-3

    def __init__(self, *, quick: bool) -> None:
        sizes: Mapping[Part, int] = {
            "train": 128 if quick else 1280,
            "validation": 64 if quick else 400,
            "test": 64 if quick else 800,
        }
        windows, self._characters = _windows()
        self.data, start = {}, 0
        for part, size in sizes.items():
            rows = windows[start : start + size]
            self.data[part] = Data(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
            start += size
        self.tunables = (
            *(Tunable(rate, 0.0, 0.95, 0.05) for rate in _RATES),
            Tunable("activity", 1e-4, 10.0, 0.01, log=True),
            Tunable("change", 1e-4, 10.0, 0.01, log=True),
        )

    def network(self, seed: int) -> Regularised:
        """Fresh weights."""
        with seeded(seed):
            return SmallLSTM(self._characters)


def _windows() -> tuple[Tensor, int]:
    """Windows (n, T + 1) of characters' numbers, in blocks in a random order; and how many there are."""
    library = Path(os.__file__).parent
    text = "".join((library / f"{module}.py").read_text(encoding="utf-8") for module in MODULES)
    known = sorted(set(text))
    numbers = {character: index for index, character in enumerate(known)}
    codes = torch.tensor([numbers[character] for character in text])
    rows = codes[: len(codes) // (WINDOW + 1) * (WINDOW + 1)].reshape(-1, WINDOW + 1)
    blocks = rows[: len(rows) // _BLOCK * _BLOCK].reshape(-1, _BLOCK, WINDOW + 1)
    order = np.random.default_rng(0).permutation(len(blocks))
    return blocks[order].flatten(0, 1), len(known)
