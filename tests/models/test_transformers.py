"""Checkpoints of transformers: folders whole and in shards, heads, sizes, and the way back."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForImageClassification, PreTrainedModel, ResNetConfig, ViTConfig
from transformers.utils import logging

from fms_hub.errors import CandidateError
from fms_hub.models import catalog, preprocessing, zoo
from fms_hub.models.model import InputSpec, Model

CLASSES = ("ant", "bee", "cat", "dog")


@pytest.fixture(autouse=True)
def _no_progress_bars() -> None:
    logging.disable_progress_bar()


def network(kind: str = "vit") -> PreTrainedModel:
    configs = {
        "vit": ViTConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
            num_labels=7,
        ),
        "resnet": ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
    }
    return AutoModelForImageClassification.from_config(configs[kind])


def built(folder: Path, **arguments: object) -> Model:
    return zoo.build(catalog.resolve(folder)[0], classes=4, **arguments)


def images(size: int = 32) -> Tensor:
    return torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["vit", "resnet"])
@pytest.mark.parametrize("shard", ["1GB", "20KB"])
def test_the_backbone_is_loaded_and_the_head_is_new(kind: str, shard: str, tmp_path: Path) -> None:
    source = network(kind)
    source.save_pretrained(tmp_path, max_shard_size=shard)
    (candidate,) = catalog.resolve(tmp_path)
    zoo.ensure_local(candidate)
    assert (candidate.source, candidate.architecture) == ("folder", kind)
    state = built(tmp_path, image_size=32, seed=3).module.state_dict()
    fresh = built(tmp_path, image_size=32, seed=3, weights=False).module.state_dict()
    for key, value in source.state_dict().items():
        expected = fresh[f"network.{key}"] if "classifier" in key else value
        assert torch.equal(state[f"network.{key}"], expected), key


def test_the_callers_generator_is_left_alone_and_a_seed_repeats(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    heads = [
        built(tmp_path, seed=seed).module.get_parameter("network.classifier.weight") for seed in (1, 1, 2)
    ]
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_dropout_stands_in_front_of_the_head(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    module = built(tmp_path, dropout=0.5).module
    assert torch.equal(module.eval()(images()), module(images()))
    assert not torch.equal(module.train()(images()), module(images()))


def test_a_vit_takes_another_image_size(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    model = built(tmp_path, image_size=64)
    assert model.input.size == 64
    assert model.module.eval()(images(64)).shape == (2, 4)
    with pytest.raises(CandidateError, match="cannot take images of 4 x 4 pixels"):
        built(tmp_path, image_size=4)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_an_exported_network_opens_in_transformers_with_the_same_logits(kind: str, tmp_path: Path) -> None:
    network(kind).save_pretrained(tmp_path / "source")
    (candidate,) = catalog.resolve(tmp_path / "source")
    model = zoo.build(candidate, classes=4, image_size=32)
    zoo.export(model, candidate, CLASSES, tmp_path / "target")
    opened = AutoModelForImageClassification.from_pretrained(tmp_path / "target").eval()
    assert torch.equal(opened(pixel_values=images()).logits, model.module.eval()(images()))
    assert opened.config.id2label == dict(enumerate(CLASSES))
    assert built(tmp_path / "target").input == model.input


def test_groups_name_every_parameter_once_from_stem_to_head(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    module = built(tmp_path).module
    groups = zoo.layer_groups(module)
    assert [group[0].split(".")[1:-1][:3] for group in groups] == [
        ["vit", "embeddings"],
        ["vit", "layers", "0"],
        ["vit", "layers", "1"],
        ["vit", "layernorm"],
        ["classifier"],
    ]
    assert sorted(sum(groups, ())) == sorted(name for name, _ in module.named_parameters())


def test_weights_that_do_not_fit_are_refused_by_tensor_name(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    key = next(key for key in state if key.endswith("1.layernorm_after.bias"))
    save_file({name: value for name, value in state.items() if name != key}, file, {"format": "pt"})
    with pytest.raises(CandidateError, match=r"absent: vit\.\S+\.1\.layernorm_after\.bias\)"):
        built(tmp_path)
    save_file(state | {key: torch.full_like(state[key], torch.nan)}, file, {"format": "pt"})
    with pytest.raises(CandidateError, match=r"not finite: vit\.\S+\.1\.layernorm_after\.bias\)"):
        built(tmp_path)


def test_a_missing_shard_and_an_index_that_leads_elsewhere_are_refused(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path, max_shard_size="20KB")
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    sorted(tmp_path.glob("*.safetensors"))[0].unlink()
    with pytest.raises(CandidateError, match=r"lacks the shards \['model-00001"):
        catalog.resolve(tmp_path)
    index.write_text(json.dumps(content | {"weight_map": {"a": "../../model.safetensors"}}))
    with pytest.raises(CandidateError, match="must list safetensors files beside it"):
        catalog.resolve(tmp_path)


def test_a_model_type_without_an_image_classifier_is_refused(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(CandidateError, match="no image classifier for model type 'bert'"):
        zoo.ensure_local(catalog.resolve(tmp_path)[0])
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "of_tomorrow"}))
    with pytest.raises(CandidateError, match="transformers cannot read the config"):
        zoo.ensure_local(catalog.resolve(tmp_path)[0])


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network().save_pretrained(tmp_path)
    monkeypatch.delitem(sys.modules, "fms_hub.models.from_transformers", raising=False)
    monkeypatch.setitem(sys.modules, "transformers", None)  # as if it were not installed
    with pytest.raises(CandidateError, match=r"`pip install fms_hub\[transformers\]`"):
        zoo.ensure_local(catalog.resolve(tmp_path)[0])


@pytest.mark.parametrize(
    ("preprocessor", "expected"),
    [
        ({"size": 384, "image_mean": [0, 0, 0], "resample": 3}, (384, "bicubic", 1.0)),
        ({"size": {"height": 96, "width": 96}}, (96, "bilinear", 1.0)),
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            (224, "bilinear", 0.875),
        ),
        ({"size": {"shortest_edge": 224}, "crop_pct": 0.9}, (224, "bilinear", 0.9)),
        ({}, (64, "bilinear", 1.0)),
    ],
)
def test_preprocessing_is_read(preprocessor: dict[str, object], expected: tuple[object, ...]) -> None:
    spec = preprocessing.read(preprocessor, {"image_size": 64}, None)
    assert (spec.size, spec.interpolation, spec.crop) == expected
    assert preprocessing.read(preprocessor, {}, 48).size == 48


def test_preprocessing_is_written_so_that_it_reads_the_same() -> None:
    spec = InputSpec(224, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "bicubic", 0.875)
    assert preprocessing.read(preprocessing.write(spec), {}, None) == spec


def test_images_that_are_not_square_or_not_in_colour_are_refused() -> None:
    with pytest.raises(CandidateError, match="one square image size"):
        preprocessing.read({"size": {"height": 96, "width": 64}}, {}, None)
    with pytest.raises(CandidateError, match="3 colour channels"):
        preprocessing.read({"image_mean": [0.5]}, {}, None)
