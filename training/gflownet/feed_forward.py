"""The truth of the article's experiment: a feed-forward net on digits, trained on a whole grid.

Learning rate x batch size x epochs; an epoch count is a prefix of one training, so that one training gives
all of them. R = learning rates, B = batch sizes, E = epoch counts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ConfigSpace import ConfigurationSpace, OrdinalHyperparameter
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import UsageError
from fms_hub.search.proposals import Configuration
from fms_hub.seeding import derived_seed
from fms_hub.tasks.task import Split
from training.data import read_npz

RATES = tuple(float(f"{rate:.3g}") for rate in np.geomspace(1e-3, 3.0, 12))
BATCHES = (8, 16, 32, 64, 128, 256)
EPOCHS = (1, 2, 4, 8, 16, 24)
HIDDEN, CLASSES = 64, 10
CANDIDATE = "feed-forward"


@dataclass(frozen=True)
class Grid:
    """What was trained.

    Attributes:
        rates, batches, epochs: the values of each axis.
        scores: validation accuracy (R, B, E), mean over repeats.
        name: of the dataset.
        repeats: trainings of each cell, with different seeds.
    """

    rates: tuple[float, ...]
    batches: tuple[int, ...]
    epochs: tuple[int, ...]
    scores: NDArray[np.float64]
    name: str
    repeats: int

    def configspace(self) -> ConfigurationSpace:
        """Its cells."""
        space = ConfigurationSpace()
        space.add(
            OrdinalHyperparameter("learning_rate", list(self.rates)),
            OrdinalHyperparameter("batch_size", list(self.batches)),
            OrdinalHyperparameter("epochs", list(self.epochs)),
        )
        return space

    def cells(self, configurations: Sequence[Configuration]) -> NDArray[np.int64]:
        """Indices (n, 3) of configurations."""
        return np.array(
            [
                (
                    self.rates.index(float(c.hyperparameters["learning_rate"])),
                    self.batches.index(int(c.hyperparameters["batch_size"])),
                    self.epochs.index(int(c.hyperparameters["epochs"])),
                )
                for c in configurations
            ]
        )

    def truth(self, configurations: Sequence[Configuration]) -> NDArray[np.float64]:
        """Scores (n,) of configurations."""
        found: NDArray[np.float64] = self.scores[tuple(self.cells(configurations).T)]
        return found


@dataclass(frozen=True)
class Pixels:
    """Images of a task as rows.

    Attributes:
        train, validation: float32 (n, pixels) in [0, 1].
        train_labels, validation_labels: (n,).
    """

    train: Tensor
    train_labels: Tensor
    validation: Tensor
    validation_labels: Tensor


def trained_grid(
    data: Path, name: str, images: int, repeats: int, out: Path, *, coarse: bool = False
) -> Grid:
    """Train every cell that is not stored yet, and read back the others.

    Args:
        data: folder of the dataset .npz files.
        name: of a dataset.
        images: most training images, validation included.
        repeats: trainings of a cell, >= 1.
        out: folder of the scores, a file for each training.
        coarse: every third learning rate, every other batch size, the first three epoch counts.
    """
    rates, batches, epochs = (RATES[::3], BATCHES[1::2], EPOCHS[:3]) if coarse else (RATES, BATCHES, EPOCHS)
    if repeats < 1:
        raise UsageError(f"a cell is trained at least once, found repeats={repeats}.")
    pixels = read_pixels(data / f"{name}.npz", images)
    out.mkdir(parents=True, exist_ok=True)
    scores = np.zeros((repeats, len(rates), len(batches), len(epochs)))
    start = time.perf_counter()
    for repeat, batch in np.ndindex(repeats, len(batches)):
        file = out / f"{name}-{images}-{len(rates)}-{batches[batch]}-{max(epochs)}-{repeat}.json"
        if not file.exists():
            found = _train(pixels, rates, batches[batch], epochs, repeat)
            write_whole(file, json.dumps(found).encode())
        scores[repeat, :, batch] = json.loads(file.read_text())
    print(f"grid of {name}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)
    return Grid(rates, batches, epochs, scores.mean(axis=0), name, repeats)


def read_pixels(path: Path, images: int) -> Pixels:
    """A dataset's training and validation images, at most so many of both."""
    task = read_npz(path, limit=images)
    train, validation = (_rows(split) for split in (task.train, task.validation))
    return Pixels(
        train, torch.from_numpy(task.train.labels), validation, torch.from_numpy(task.validation.labels)
    )


def _rows(split: Split) -> Tensor:
    grey = [np.asarray(split.images[i].convert("L"), dtype=np.float32) for i in range(len(split.images))]
    return torch.from_numpy(np.stack(grey)).flatten(1) / 255


def _train(
    pixels: Pixels, rates: Sequence[float], batch: int, epochs: Sequence[int], seed: int
) -> list[list[float]]:
    """Validation accuracy (R, E) of plain SGD, where a net's loss is not finite 0.

    The nets of all learning rates start alike, see the same batches, and are trained side by side, which
    takes a fifth of the time.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, batch))
    net = _Nets.drawn(pixels.train.shape[1], len(rates), generator)
    speed = torch.tensor(rates).view(-1, 1, 1)
    found = np.zeros((len(rates), len(epochs)))
    for epoch in range(1, max(epochs) + 1):
        order = torch.randperm(len(pixels.train), generator=generator)
        for rows in torch.split(order, batch):
            losses = net.step(pixels.train[rows], pixels.train_labels[rows], speed)
        if epoch in epochs:
            right = net.guesses(pixels.validation) == pixels.validation_labels
            alive = torch.isfinite(losses).float()
            found[:, epochs.index(epoch)] = (alive * right.float().mean(dim=1)).numpy()
    return found.round(6).tolist()


@dataclass(frozen=True)
class _Nets:
    """R nets of one hidden layer, a weight and a bias for each of two layers: (R, in, out), (R, 1, out)."""

    parameters: tuple[Tensor, Tensor, Tensor, Tensor]

    @classmethod
    def drawn(cls, width: int, nets: int, generator: torch.Generator) -> _Nets:
        """R copies of one net with He's initialisation."""
        layers = [(width, HIDDEN), (HIDDEN, CLASSES)]
        first, second = (
            torch.randn(1, *layer, generator=generator) * (2 / layer[0]) ** 0.5 for layer in layers
        )
        biases = (torch.zeros(nets, 1, HIDDEN), torch.zeros(nets, 1, CLASSES))
        return cls((first.repeat(nets, 1, 1), biases[0], second.repeat(nets, 1, 1), biases[1]))

    def logits(self, rows: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        first, one, second, two = parameters
        hidden = torch.relu(torch.baddbmm(one, rows.expand(len(first), -1, -1), first))
        return torch.baddbmm(two, hidden, second)

    def step(self, rows: Tensor, labels: Tensor, speed: Tensor) -> Tensor:
        """One step of each net at its own learning rate (R, 1, 1); the losses before it, (R,)."""
        leaves = [p.detach().requires_grad_() for p in self.parameters]
        logs = self.logits(rows, leaves).log_softmax(dim=-1)
        losses = -logs[:, torch.arange(len(labels)), labels].mean(dim=1)
        gradients = torch.autograd.grad(losses.sum(), leaves)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.sub_(speed * gradient)
        return losses.detach()

    def guesses(self, rows: Tensor) -> Tensor:
        """Classes (R, n)."""
        return self.logits(rows, self.parameters).argmax(dim=-1)
