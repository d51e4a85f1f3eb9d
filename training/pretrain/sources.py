"""Source checkpoints of the timm-tiny hub: twelve small architectures, different data, different effort.

Together with the bundled checkpoints and random initialisations they are the candidates of the corpus.
Research-only data are allowed here, because none of these checkpoints is in the wheel.
"""

from __future__ import annotations

from training.pretrain.plan import Pretraining

_OBJECTS = "tiny_imagenet32"
_PICTURES = "cifar10"
_CHARACTERS = "omniglot_small"

SOURCES = (
    Pretraining("test_resnet", _OBJECTS, 8),
    Pretraining("test_vit", _OBJECTS, 10, learning_rate=1e-3),
    Pretraining("test_vit2", _OBJECTS, 8, learning_rate=1e-3),
    Pretraining("test_byobnet", _OBJECTS, 8),
    Pretraining("test_convnext2", _OBJECTS, 6, learning_rate=1e-3),
    Pretraining("test_coatnet", _OBJECTS, 6, learning_rate=1e-3),
    Pretraining("test_mambaout", _OBJECTS, 5),
    Pretraining("test_efficientnet_gn", _OBJECTS, 8, images=12_500),
    Pretraining("test_efficientnet", _OBJECTS, 8, images=12_500),
    Pretraining("test_nfnet", _OBJECTS, 6, images=12_500, learning_rate=1e-3),
    Pretraining("test_convnext", _OBJECTS, 2, images=12_500, variant="_undertrained"),
    Pretraining("lcnet_035", _OBJECTS, 8, images=12_500),
    Pretraining("test_resnet", _PICTURES, 1, images=5_000, variant="_undertrained"),
    Pretraining("test_vit", _PICTURES, 12, learning_rate=1e-3, augmentation=0.25, images=12_500),
    Pretraining("test_vit2", _PICTURES, 8, learning_rate=1e-3, augmentation=0.25, images=12_500),
    Pretraining("test_byobnet", _PICTURES, 2, images=5_000, variant="_undertrained"),
    Pretraining("test_convnext2", _PICTURES, 2, images=5_000, learning_rate=1e-3, variant="_undertrained"),
    Pretraining("test_coatnet", _PICTURES, 8, images=12_500, learning_rate=1e-3),
    Pretraining("test_mambaout", _PICTURES, 8, images=12_500),
    Pretraining("test_efficientnet_gn", _PICTURES, 10, images=12_500, augmentation=0.25),
    Pretraining("test_efficientnet", _PICTURES, 2, images=5_000, variant="_undertrained"),
    Pretraining("test_nfnet", _PICTURES, 6, images=12_500, learning_rate=1e-3),
    Pretraining("test_convnext", _PICTURES, 8, images=12_500),
    Pretraining("lcnet_035", _PICTURES, 10, images=12_500),
    Pretraining("test_vit2", _CHARACTERS, 24, learning_rate=1e-3, augmentation=0.25),
    Pretraining("test_coatnet", _CHARACTERS, 20, learning_rate=1e-3),
    Pretraining("lcnet_035", _CHARACTERS, 24),
)
"""Each of the twelve has at least three sources with the bundled ones; none stands in both."""
