"""What is bundled: families, sources and effort are mixed on purpose, for candidates of different quality."""

from __future__ import annotations

from dataclasses import dataclass

from fms_hub.records import Candidate, Value

IMAGE_SIZE = 32
SEED = 0


@dataclass(frozen=True)
class Pretraining:
    """How one bundled checkpoint comes about.

    Attributes:
        architecture: timm architecture, built for 32 x 32 pixels.
        data: dataset, the stem of its ``.npz``.
        epochs: epochs to train; 0 leaves the random initialisation.
        learning_rate: peak learning rate of AdamW.
        augmentation: strength, in [0, 1].
        images: most training images, validation included; None takes all.
        variant: set apart from the other checkpoints of this architecture and data.
    """

    architecture: str
    data: str
    epochs: int
    learning_rate: float = 3e-3
    augmentation: float = 0.0
    images: int | None = None
    variant: str = ""

    @property
    def name(self) -> str:
        """Folder of the checkpoint within the bundle."""
        source = self.data if self.epochs else "random"
        return f"{self.architecture}.{source}{self.variant}"

    @property
    def candidate(self) -> Candidate:
        """The randomly initialised network it starts from."""
        name = f"scratch:{self.architecture}"
        return Candidate(name, "scratch", self.architecture, fingerprint=name)

    @property
    def hyperparameters(self) -> dict[str, Value]:
        """The recipe, as `fms_hub.finetune.recipe.Recipe` reads it."""
        return {
            "optimizer": "adamw",
            "learning_rate": self.learning_rate,
            "weight_decay": 0.05,
            "batch_size": 64,
            "augmentation": self.augmentation,
        }


PLAN = (
    Pretraining("test_resnet", "mnist", 6),
    Pretraining("test_vit", "mnist", 12, learning_rate=1e-3),
    Pretraining("test_efficientnet", "mnist", 1, images=625, variant="_undertrained"),
    Pretraining("test_convnext", "cmater_bangla", 12, augmentation=0.25),
    Pretraining("test_nfnet", "cmater_bangla", 4, learning_rate=1e-3),
    Pretraining("test_mambaout", "cmater_devanagari", 16, augmentation=0.25),
    Pretraining("test_resnet", "omniglot_small", 24, augmentation=0.25),
    Pretraining("test_byobnet", "omniglot_small", 24),
    Pretraining("test_convnext2", "omniglot_small", 24, learning_rate=5e-4),
    Pretraining("test_efficientnet_gn", "fashion_mini", 40, augmentation=0.25),
    Pretraining("test_efficientnet", "pneumoniamnist", 8),
    Pretraining("test_convnext", "mnist", 0),
)
"""Twelve checkpoints of seven families; the last is the control, its data serve for measuring alone."""
