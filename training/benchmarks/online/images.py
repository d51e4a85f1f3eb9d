"""Two problems of images: a small network on a part of CIFAR-10, a bundled candidate on flowers.

B = batch, S = height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from fms_hub.finetune.self_tuning.augment import cut_out, jittered
from fms_hub.finetune.self_tuning.hyperparameters import TUNABLES, Tunable
from fms_hub.models import catalog
from fms_hub.models.zoo import build
from fms_hub.seeding import seeded
from fms_hub.tasks.task import Split
from training.benchmarks.online.problem import Data, Part, Problem, Regularised
from training.data import read_npz

PIXELS = 32
BUNDLED = "bundled/test_resnet.omniglot_small"
_COLOURS = ("brightness", "contrast", "saturation", "hue", "cutout_length", "cutout_number")
_RATES = ("input_dropout", "first_dropout", "second_dropout", "dropout")


class SmallNet(Regularised):
    """Three convolutions with pooling and a hidden layer, without normalisation."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding="same") for before, after in ((3, 32), (32, 48), (48, 64))
        )
        self.hidden = nn.Linear(64 * 16, 96)
        self.head = nn.Linear(96, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, 32, 32)."""
        x = images
        for conv, rate in zip(self.convs, _RATES[:3], strict=True):
            x = torch.max_pool2d(torch.relu(conv(self.dropped(x, rate))), 2)
        x = torch.relu(self.hidden(self.dropped(x.flatten(1), "dropout")))
        logits: Tensor = self.head(x)
        return logits


class HeadDropped(Regularised):
    """A timm network whose head sees dropped features."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, S, S)."""
        network = cast(Any, self.network)
        features = network.forward_head(network.forward_features(images), pre_logits=True)
        logits: Tensor = network.get_classifier()(self.dropped(features, "dropout"))
        return logits


class ImageProblem(Problem):
    """What both problems share: pixels, colour jitter and cutout.

    Args:
        data: folder of the dataset files.
        dataset: which one.
        sizes: most images of each part.
        centre, spread: of the network's inputs, per channel, from values in [0, 1].
    """

    def __init__(
        self,
        data: Path,
        dataset: str,
        sizes: Mapping[Part, int],
        centre: tuple[float, ...],
        spread: tuple[float, ...],
    ) -> None:
        task = read_npz(
            data / f"{dataset}.npz", limit=round(1.25 * sizes["train"]) + sizes["validation"], seed=0
        )
        parts: Mapping[Part, Split] = {
            "train": task.train, "validation": task.validation, "test": task.test
        }  # fmt: skip
        self.classes = len(task.info.classes)
        self.data = {part: _pixels(split, sizes[part]) for part, split in parts.items()}
        self._centre = torch.tensor(centre)[:, None, None]
        self._spread = torch.tensor(spread)[:, None, None]

    def augmented(self, inputs: Tensor, values: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """Colours changed, normalised, squares cut out."""
        images = jittered(inputs.float() / 255, values, generator)
        normal = (images - self._centre) / self._spread
        if "cutout_number" not in values:
            return normal
        return cut_out(normal, values["cutout_length"], values["cutout_number"], generator)

    def prepared(self, inputs: Tensor) -> Tensor:
        """Normalised pixels."""
        return (inputs.float() / 255 - self._centre) / self._spread


class Cifar(ImageProblem):
    """A small network from scratch: four dropout rates and six strengths."""

    name, epochs, batch_size, rate = "cifar10", 14, 64, 1e-3

    def __init__(self, data: Path, *, quick: bool) -> None:
        sizes: Mapping[Part, int] = {
            "train": 256 if quick else 2000,
            "validation": 128 if quick else 500,
            "test": 128 if quick else 2000,
        }
        super().__init__(data, "cifar10", sizes, (0.49, 0.48, 0.45), (0.25, 0.24, 0.26))
        self.tunables = (
            *(Tunable(rate, 0.0, 0.95, 0.05) for rate in _RATES),
            *(TUNABLES[name] for name in _COLOURS),
        )

    def network(self, seed: int) -> Regularised:
        """Fresh weights."""
        with seeded(seed):
            return SmallNet(self.classes)


class Flowers(ImageProblem):
    """A bundled candidate, fine-tuned: dropout in front of the head and six strengths."""

    name, epochs, batch_size, rate = "flowers5", 8, 32, 1e-3

    def __init__(self, data: Path, *, quick: bool) -> None:
        (self._candidate,) = catalog.resolve(BUNDLED)
        self._classes = 5
        spec = build(self._candidate, classes=self._classes, image_size=PIXELS).input
        sizes: Mapping[Part, int] = {
            "train": 256 if quick else 1500,
            "validation": 128 if quick else 400,
            "test": 128 if quick else 864,
        }
        super().__init__(data, "flowers5", sizes, spec.mean, spec.std)
        self.tunables = tuple(TUNABLES[name] for name in ("dropout", *_COLOURS))

    def network(self, seed: int) -> Regularised:
        """Pretrained weights under a fresh head."""
        model = build(self._candidate, classes=self._classes, image_size=PIXELS, seed=seed)
        return HeadDropped(model.module)


def _pixels(split: Split, most: int) -> Data:
    chosen = np.random.default_rng(0).permutation(len(split.labels))[:most]
    resized = [np.asarray(split.images[int(i)].resize((PIXELS, PIXELS))) for i in chosen]
    images = torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()
    return Data(images, torch.from_numpy(split.labels[chosen]))
