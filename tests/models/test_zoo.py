"""Networks from candidates: heads, strict weights, sizes, groups, and folders that timm opens again."""

import json
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from fms_hub.errors import CandidateError
from fms_hub.models import catalog, zoo
from fms_hub.records import Candidate

FAMILIES = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "test_mambaout")
CLASSES = ("ant", "bee", "cat")


def images(size: int = 32) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def scratch(architecture: str) -> Candidate:
    return catalog.resolve(f"scratch:{architecture}")[0]


def logits(module: nn.Module, size: int = 32) -> torch.Tensor:
    with torch.no_grad():
        return module.eval()(images(size))


def exported(folder: Path, architecture: str = "test_resnet", **arguments: object) -> Candidate:
    """A checkpoint folder on disk, as a user would have it."""
    candidate = scratch(architecture)
    zoo.export(
        zoo.build(candidate, classes=3, image_size=32, seed=1), candidate, CLASSES, folder, **arguments
    )
    return catalog.resolve(folder)[0]


@pytest.mark.parametrize("architecture", FAMILIES)
def test_an_exported_network_opens_in_timm_with_the_same_logits(architecture: str, tmp_path: Path) -> None:
    model = zoo.build(scratch(architecture), classes=3, image_size=32)
    zoo.export(model, scratch(architecture), CLASSES, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "tag" not in config["pretrained_cfg"], "the weights are not those of timm's default tag"
    opened = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    torch.testing.assert_close(logits(opened), logits(model.module), rtol=0, atol=0)
    assert opened.pretrained_cfg["label_names"] == list(CLASSES)
    assert zoo.build(catalog.resolve(tmp_path)[0], classes=5).input == model.input


@pytest.mark.parametrize("architecture", FAMILIES)
def test_a_folder_gives_its_backbone_and_a_new_head(architecture: str, tmp_path: Path) -> None:
    candidate = exported(tmp_path, architecture)
    stored = load_file(tmp_path / "model.safetensors")
    state = zoo.build(candidate, classes=5, seed=7).module.state_dict()
    fresh = zoo.build(candidate, classes=5, seed=7, weights=False).module.state_dict()
    same = {key for key, value in stored.items() if torch.equal(value, state[key])}
    head = stored.keys() - same
    assert {state[key].shape[0] for key in head} == {5}
    assert all(torch.equal(state[key], fresh[key]) for key in head)
    assert any(not torch.equal(state[key], fresh[key]) for key in same)


def test_the_head_is_new_even_where_the_number_of_classes_is_the_same(tmp_path: Path) -> None:
    candidate = exported(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    state = zoo.build(candidate, classes=3, seed=7).module.state_dict()
    assert not torch.equal(state["fc.weight"], stored["fc.weight"])


def test_a_seed_repeats_and_the_callers_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        zoo.build(scratch("test_vit"), classes=3, seed=seed).module.state_dict() for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_half_precision_keeps_statistics_exact_and_logits_close(tmp_path: Path) -> None:
    exact = exported(tmp_path / "exact")
    half = exported(tmp_path / "half", half=True)
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert stored["fc.weight"].dtype == torch.float16
    assert stored["bn1.running_var"].dtype == torch.float32
    first, second = (zoo.build(item, classes=3, seed=0).module for item in (exact, half))
    assert next(second.parameters()).dtype == torch.float32
    torch.testing.assert_close(logits(first), logits(second), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("absent", "layer1.0.conv1.weight"),
        ("misshapen", "layer1.0.conv1.weight"),
        ("surplus", "layer9.weight"),
        ("nan", "not finite: layer1.0.conv1.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_tensor_name(
    change: str, message: str, tmp_path: Path
) -> None:
    exported(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    if change == "absent":
        del state["layer1.0.conv1.weight"]
    elif change == "misshapen":
        state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"][:3].clone()
    elif change == "surplus":
        state["layer9.weight"] = torch.zeros(3)
    else:
        state["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    save_file(state, file)
    with pytest.raises(CandidateError, match=message):
        zoo.build(catalog.resolve(tmp_path)[0], classes=5)


def test_weights_that_changed_since_they_were_resolved_are_refused(tmp_path: Path) -> None:
    candidate = exported(tmp_path)
    exported(tmp_path, half=True)
    with pytest.raises(CandidateError, match="are not those that were resolved"):
        zoo.build(candidate, classes=3)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    exported(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a header")
    with pytest.raises(CandidateError, match="no readable safetensors file"):
        zoo.build(catalog.resolve(tmp_path)[0], classes=3)


def test_a_vit_takes_another_image_size_by_resizing_its_positions(tmp_path: Path) -> None:
    candidate = exported(tmp_path, "test_vit")
    model = zoo.build(candidate, classes=3, image_size=64)
    assert model.input.size == 64
    assert logits(model.module, 64).shape == (2, 3)
    reference = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, img_size=64)
    assert torch.equal(model.module.get_parameter("pos_embed"), reference.pos_embed)
    assert (
        zoo.build(candidate, classes=3).module.get_parameter("pos_embed").shape != reference.pos_embed.shape
    )


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_maxvit"])
def test_an_impossible_image_size_is_refused(architecture: str) -> None:
    with pytest.raises(CandidateError, match=f"scratch:{architecture} cannot take images of 9 x 9 pixels"):
        zoo.build(scratch(architecture), classes=3, image_size=9)


@pytest.mark.parametrize("architecture", FAMILIES)
def test_layer_groups_name_every_parameter_once_and_end_with_the_head(architecture: str) -> None:
    module = zoo.build(scratch(architecture), classes=3).module
    groups = zoo.layer_groups(module)
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in module.named_parameters())
    assert len(groups) > 3
    head = {name for name, value in module.named_parameters() if value.shape[0] == 3 and "weight" in name}
    assert head & set(groups[-1])


def test_dropout_acts_while_training_only() -> None:
    module = zoo.build(scratch("test_resnet"), classes=3, dropout=0.5, image_size=32).module
    assert torch.equal(logits(module), logits(module))
    module.train()
    for child in module.modules():
        if isinstance(child, nn.BatchNorm2d):
            child.eval()
    assert not torch.equal(module(images()), module(images()))
