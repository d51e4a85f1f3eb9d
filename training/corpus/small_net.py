"""The networks of the small-cnn hub: three narrow convolutions, trained from scratch.

Source: T. Unterthiner et al., "Predicting Neural Network Accuracy from Weights" (2020).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fms_hub.records import Value
from training.corpus.plan import PlannedRun

CANDIDATE = "small-cnn"
PIXELS = 28
HORIZON = 12
FILTERS = 16
REPEATED = 17
"""One configuration in this many is repeated; prime to the usual numbers of tasks, so each task gets some."""
INITIALISATIONS = ("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")


class SmallCNN(nn.Module):
    """Three 3 x 3 convolutions of 16 filters and stride 2, mean over positions, dense head.

    Args:
        classes: outputs.
        activation: ``"relu"`` or ``"tanh"``.
        dropout: share of channels dropped after each convolution while training, in [0, 1).
    """

    def __init__(self, classes: int, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        inputs = (1, FILTERS, FILTERS)
        self.convs = nn.ModuleList([nn.Conv2d(channels, FILTERS, 3, stride=2) for channels in inputs])
        self.head = nn.Linear(FILTERS, classes)
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[activation]
        self.dropout = dropout
        self.to(memory_format=torch.channels_last)  # twice as fast on a CPU

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n, classes) of grey images (n, 1, PIXELS, PIXELS)."""
        x = images
        for conv in self.convs:
            x = self.activation(conv(x))
            if self.dropout > 0 and self.training:
                x = F.dropout2d(x, self.dropout)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def initialise(net: SmallCNN, kind: str, scale: float) -> None:
    """Draw the weights of all layers from the global generator; biases are zero.

    Args:
        net: changed in place.
        kind: one of `INITIALISATIONS`; the last two have a deviation of 0.1 whatever the layer.
        scale: factor on the weights.
    """
    for layer in (*net.convs, net.head):
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        with torch.no_grad():
            layer.weight.copy_(scale * _drawn(kind, layer.weight.contiguous()))
            layer.bias.zero_()  # type: ignore[union-attr]


def _drawn(kind: str, like: Tensor) -> Tensor:
    target = torch.empty_like(like)
    if kind == "glorot_normal":
        return nn.init.xavier_normal_(target)
    if kind == "he_normal":
        return nn.init.kaiming_normal_(target)
    if kind == "orthogonal":
        return nn.init.orthogonal_(target)
    if kind == "normal":
        return nn.init.normal_(target, std=0.1)
    return nn.init.trunc_normal_(target, std=0.1, a=-0.2, b=0.2)


def sample(rng: np.random.Generator) -> dict[str, Value]:
    """Draw one configuration of the hub over about the ranges of the paper, bad corners included.

    Rates reach higher for SGD, which has few steps here; where the paper fixes the scale of an
    initialisation that follows the fan-in, this hub varies it a little.
    """
    optimiser = str(rng.choice(["sgd", "adam", "rmsprop"]))
    kind = str(rng.choice(INITIALISATIONS))
    deviation_varies = kind in ("normal", "truncated_normal")
    return {
        "initialisation": kind,
        "initial_scale": _log_uniform(rng, 0.01, 5.0) if deviation_varies else _log_uniform(rng, 0.5, 2.0),
        "activation": str(rng.choice(["relu", "tanh"])),
        "optimiser": optimiser,
        "learning_rate": _log_uniform(rng, *((1e-3, 2e-1) if optimiser == "sgd" else (3e-4, 5e-2))),
        "weight_decay": _log_uniform(rng, 1e-8, 1e-2),
        "dropout": float(rng.choice([0.0, rng.uniform(0.0, 0.7)])),
        "batch_size": int(rng.choice([32, 64, 128])),
        "train_fraction": float(rng.choice([0.1, 0.25, 0.5, 1.0])),
    }


def plan(tasks: Sequence[str], seed: int) -> Iterator[PlannedRun]:
    """An endless sweep over the tasks in turn; a longer sweep begins with a shorter one's runs.

    One configuration in `REPEATED` is run once more with the next seed, for the noise.
    """
    draw = 0
    while True:
        for task in tasks:
            values: Mapping[str, Value] = sample(np.random.default_rng([seed, draw]))
            yield PlannedRun(task, CANDIDATE, values, HORIZON, seed)
            if draw % REPEATED == REPEATED - 1:
                yield PlannedRun(task, CANDIDATE, values, HORIZON, seed + 1)
            draw += 1


def repeats(rows: pd.DataFrame, seed: int) -> list[PlannedRun]:
    """About one in `REPEATED` of the runs of a seed that are there, once more with the next: by their ids.

    Args:
        rows: of shards.
        seed: of the runs to repeat.
    """
    ended = rows[(rows["epoch"] == rows["horizon"]) & (rows["seed"] == seed)].sort_values("run")
    return [
        PlannedRun(r["task"], r["candidate"], json.loads(r["hyperparameters"]), int(r["horizon"]), seed + 1)
        for r in ended.to_dict("records")
        if int(r["run"], 16) % REPEATED == 0
    ]


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))
