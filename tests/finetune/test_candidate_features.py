"""Features of candidates of every kind, against the networks themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import AutoModelForImageClassification, PreTrainedModel, ResNetConfig, ViTConfig
from transformers.utils import logging

from fms_hub.errors import CandidateError, UsageError
from fms_hub.finetune.epoch import Stage
from fms_hub.finetune.features import FeatureReader, sample, sample_features
from fms_hub.finetune.gallery import Gallery
from fms_hub.models import catalog, zoo
from fms_hub.models.model import Model
from fms_hub.records import Candidate
from fms_hub.tasks.task import Split, Task

BUNDLED = "bundled/test_resnet.omniglot_small"


def bundled(name: str = BUNDLED) -> Candidate:
    (candidate,) = catalog.resolve(name)
    return candidate


def own(module: nn.Module) -> Candidate:
    (candidate,) = catalog.resolve(module)
    return candidate


def pixels(task: Task, split: Split, model: Model) -> Tensor:
    """A split's images as the network sees them."""
    stage = Stage(model.input, torch.device("cpu"), torch.contiguous_format)
    return torch.cat([stage.pixels(b.pixels) for b in Gallery(task).evaluation(split, model.input).batches])


def test_a_timm_checkpoint_gives_its_own_features_and_probabilities(few_digits: Task) -> None:
    found = sample_features(bundled(), few_digits)
    candidate = bundled()
    network = timm.create_model(f"local-dir:{candidate.location}", pretrained=True).eval()
    model = zoo.build(candidate, classes=10)
    with torch.no_grad():
        images = pixels(few_digits, few_digits.train, model)
        expected = network.forward_head(network.forward_features(images), pre_logits=True)
        likely = network(images).softmax(dim=1)
    assert found.values.shape == (101, 96)
    assert found.values.dtype == np.float32
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-4, atol=1e-5)
    assert found.source_probabilities is not None
    np.testing.assert_allclose(found.source_probabilities, likely.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.labels, few_digits.train.labels)


def test_random_weights_and_own_modules_have_no_source_head(few_digits: Task) -> None:
    scratch = sample_features(Candidate("scratch:test_vit", "scratch", "test_vit"), few_digits, image_size=32)
    assert scratch.source_probabilities is None
    assert scratch.values.shape == (101, 64)
    assert np.isfinite(scratch.values).all()
    network = timm.create_model("test_resnet", num_classes=7)
    copied = sample_features(own(network), few_digits, image_size=32)
    assert copied.source_probabilities is None
    assert copied.values.shape == (101, 96)


def test_a_checkpoint_without_a_head_has_features_only(few_digits: Task, tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=0)
    timm.models.save_for_hf(network, str(tmp_path), safe_serialization=True)
    found = sample_features(catalog.resolve(tmp_path)[0], few_digits, image_size=32)
    assert found.source_probabilities is None
    with torch.no_grad():
        model = zoo.build(catalog.resolve(tmp_path)[0], classes=10, image_size=32)
        expected = network.eval()(pixels(few_digits, few_digits.train, model))
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_features_of_two_heads_stand_side_by_side(few_digits: Task) -> None:
    network = timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=32, depth=1, embed_dim=12, num_heads=3, num_classes=5
    )
    assert sample_features(own(network), few_digits, image_size=32).values.shape == (101, 24)


class TwoLayers(nn.Module):
    """A user's own network, whose features are its hidden layer's."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.hidden = nn.Linear(3 * 32 * 32, 6)
        self.head = nn.Linear(6, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) / 50

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(images.flatten(1)).relu())


def test_an_own_module_is_read_at_its_last_linear_layer(few_digits: Task) -> None:
    module = TwoLayers()
    candidate = own(module)
    found = sample_features(candidate, few_digits, image_size=32)
    model = zoo.build(candidate, classes=10, image_size=32)
    with torch.no_grad():
        expected = module.hidden(pixels(few_digits, few_digits.train, model).flatten(1)).relu()
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=1e-4, atol=1e-5)


class Functional(TwoLayers):
    """Uses its head's weights without calling it."""

    def forward(self, images: Tensor) -> Tensor:
        return linear(self.hidden(images.flatten(1)), self.head.weight)


class Tokens(TwoLayers):
    """Calls its head on four pieces of every image."""

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.hidden(images.flatten(1).repeat_interleave(4, 0))).unflatten(0, (-1, 4)).mean(1)


@pytest.mark.parametrize(("module", "rows"), [(Functional(), 0), (Tokens(), 4)])
def test_a_head_that_is_not_called_once_an_image_is_named(
    module: nn.Module, rows: int, few_digits: Task
) -> None:
    with pytest.raises(
        CandidateError, match=rf"once for each batch.*found \[{rows}\] rows of features for 1"
    ):
        sample_features(own(module), few_digits, image_size=32)


def published(kind: str) -> PreTrainedModel:
    logging.disable_progress_bar()
    torch.manual_seed(0)
    configs = {
        "vit": ViTConfig(
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=7,
        ),
        "resnet": ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
        ),
    }
    return AutoModelForImageClassification.from_config(configs[kind]).eval()


@pytest.mark.parametrize(("kind", "width", "classes"), [("vit", 32, 7), ("resnet", 16, 3)])
def test_a_transformers_classifier_gives_its_own_features_and_probabilities(
    kind: str, width: int, classes: int, few_digits: Task, tmp_path: Path
) -> None:
    network = published(kind)
    network.save_pretrained(tmp_path)
    (candidate,) = catalog.resolve(tmp_path)
    found = sample_features(candidate, few_digits, image_size=32)
    assert found.values.shape == (101, width)
    assert found.source_probabilities is not None
    assert found.source_probabilities.shape == (101, classes)
    model = zoo.build(candidate, classes=10, image_size=32)
    with torch.no_grad():
        images = pixels(few_digits, few_digits.train, model)
        logits = network(pixel_values=images).logits
        head = network.classifier if kind == "vit" else network.classifier[-1]
        again = head(torch.from_numpy(found.values))
    np.testing.assert_allclose(found.source_probabilities, logits.softmax(1).numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again.numpy(), logits.numpy(), rtol=1e-4, atol=1e-5)


def test_a_transformers_backbone_has_features_only(few_digits: Task, tmp_path: Path) -> None:
    network = published("vit")
    network.save_pretrained(tmp_path)
    whole = sample_features(catalog.resolve(tmp_path)[0], few_digits, image_size=32)
    file = tmp_path / "model.safetensors"
    backbone = {name: value for name, value in load_file(file).items() if not name.startswith("classifier")}
    save_file(backbone, file, {"format": "pt"})
    found = sample_features(catalog.resolve(tmp_path)[0], few_digits, image_size=32)
    assert whole.source_probabilities is not None
    assert found.source_probabilities is None
    np.testing.assert_array_equal(found.values, whole.values)


def test_weights_that_changed_since_are_refused(few_digits: Task, tmp_path: Path) -> None:
    zoo.export(zoo.build(bundled(), classes=3), bundled(), ("a", "b", "c"), tmp_path)
    (candidate,) = catalog.resolve(tmp_path)
    zoo.export(zoo.build(bundled(), classes=3, seed=1), bundled(), ("a", "b", "c"), tmp_path)
    with pytest.raises(CandidateError, match="not those that were resolved"):
        sample_features(candidate, few_digits)


def test_an_impossible_size_is_refused_before_any_image(few_digits: Task) -> None:
    with pytest.raises(CandidateError, match="cannot take images of 2 x 2"):
        sample_features(own(timm.create_model("test_vit", num_classes=4)), few_digits, image_size=2)
    with pytest.raises(CandidateError, match="cannot take images of 1 x 1"):
        FeatureReader(bundled("bundled/test_convnext.random"), 10, image_size=1)


def test_samples_are_stratified_seeded_and_whole_where_they_can_be(digits: Task, few_digits: Task) -> None:
    rows = sample(digits, 100)
    assert rows.tolist() == sorted(set(rows.tolist()))
    shares = np.bincount(digits.train.labels) / 10
    assert np.abs(np.bincount(digits.train.labels[rows]) - shares).max() <= 1
    assert sample(digits, 100, seed=1).tolist() != rows.tolist() == sample(digits, 100).tolist()
    assert sample(few_digits).tolist() == list(range(101))
    assert np.bincount(digits.train.labels[sample(digits, 1)]).tolist() == [2] * 10
    with pytest.raises(UsageError, match="at least 1 image, found 0"):
        sample(digits, 0)


def test_a_sample_is_what_the_whole_split_gives_at_its_places(digits: Task) -> None:
    reader = FeatureReader(bundled(), 10)
    whole = reader.read(digits.train, Gallery(digits))
    part = sample_features(bundled(), digits, images=60, seed=3)
    taken = whole.take(sample(digits, 60, seed=3))
    np.testing.assert_array_equal(part.labels, taken.labels)
    np.testing.assert_allclose(part.values, taken.values, rtol=1e-4, atol=1e-5)
    assert taken.source_probabilities is not None
    np.testing.assert_allclose(part.source_probabilities, taken.source_probabilities, rtol=1e-4, atol=1e-6)
