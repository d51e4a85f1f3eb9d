"""From names, patterns, folders and modules to candidates."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fms_hub.errors import CandidateError, CheckpointError
from fms_hub.models import bundle, catalog, folder, zoo
from fms_hub.records import Candidate


def saved(target: Path, architecture: str = "test_resnet") -> Path:
    (candidate,) = catalog.resolve(f"scratch:{architecture}")
    zoo.export(zoo.build(candidate, classes=2, image_size=32), candidate, ("no", "yes"), target, half=True)
    return target


def entry(root: Path, name: str) -> bundle.BundledCheckpoint:
    file = saved(root / name) / "model.safetensors"
    return bundle.BundledCheckpoint(
        name=f"bundled/{name}",
        architecture="test_resnet",
        model_args={},
        file=f"{name}/model.safetensors",
        sha256=folder.sha256(file),
        data="mnist",
        licence="CC BY-SA 3.0",
        classes=2,
        image_size=32,
        epochs=1,
        accuracy=0.5,
        seed=0,
        command="python -m training.pretrain",
        parameters=373_000,
    )


def test_scratch_names_an_architecture() -> None:
    assert catalog.resolve("scratch:test_vit") == (
        Candidate("scratch:test_vit", "scratch", "test_vit", fingerprint="scratch:test_vit"),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resnet18z", r"no candidate 'resnet18z'.*Did you mean.*resnet18"),
        ("timm/resnet18.a1_in2k", r"Did you mean timm/resnet18\.a1_in1k"),
        ("scratch:test_resnot", r"no architecture 'test_resnot'.*Did you mean scratch:test_resnet"),
        ("scratch:resnet18.a1_in1k", r"no architecture 'resnet18\.a1_in1k'"),
        ("timm/*no_such_thing*", "no pretrained weights of timm match"),
        ("test_coatnet", "no pretrained weights for 'test_coatnet'.*'scratch:test_coatnet'"),
        ("gcvit_tiny", "only as a pickled file outside the Hub"),
        ("./no/such/folder", "there is no folder"),
        ("local-dir:no/such/folder", "there is no folder"),
        ("", "no candidate ''"),
    ],
)
def test_what_is_unknown_is_refused_and_the_nearest_named(text: str, message: str) -> None:
    with pytest.raises(CandidateError, match=message):
        catalog.resolve(text)


def test_nothing_and_nonsense_are_refused() -> None:
    with pytest.raises(CandidateError, match="at least one candidate"):
        catalog.resolve([])
    with pytest.raises(CandidateError, match="found int"):
        catalog.resolve([7])  # type: ignore[list-item]


def test_a_folder_is_found_by_path_by_text_and_by_scheme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "net")
    monkeypatch.chdir(tmp_path)
    spellings = [tmp_path / "net", "local-dir:net", "./net", "net/", "net"]
    found = {catalog.resolve(item)[0].location for item in spellings}
    assert found == {str(tmp_path / "net")}
    assert len(catalog.resolve(spellings)) == 1
    assert catalog.resolve("net")[0].name == "local-dir:net"


def test_the_fingerprint_of_a_folder_follows_its_weights(tmp_path: Path) -> None:
    first, again, other = (
        catalog.resolve(saved(tmp_path / name, architecture))[0].fingerprint
        for name, architecture in (("a", "test_vit"), ("b", "test_vit"), ("c", "test_resnet"))
    )
    assert first == again != other


def test_a_folder_with_pickled_weights_only_is_refused_with_the_way_out(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(
        CandidateError, match=r"(?s)pytorch_model\.bin.*never opened.*save_pretrained.*local-dir"
    ):
        catalog.resolve(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not readable JSON"),
        ("[1]", "must hold a JSON object; found list"),
        ('{"layers": 3}', "neither 'architecture' .* nor 'model_type'"),
    ],
)
def test_a_folder_with_a_broken_config_is_refused(content: str, message: str, tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CandidateError, match=message):
        catalog.resolve(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CandidateError, match=r"has no config\.json"):
        catalog.resolve(tmp_path)


def test_an_architecture_that_timm_does_not_know_is_refused_before_building(tmp_path: Path) -> None:
    config = json.loads((saved(tmp_path) / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architecture": "resnet_of_tomorrow"}))
    with pytest.raises(CandidateError, match="does not know the architecture 'resnet_of_tomorrow'"):
        zoo.ensure_local(catalog.resolve(tmp_path)[0])


def test_modules_are_numbered_and_doubles_dropped() -> None:
    first, second = nn.Sequential(nn.Linear(3, 2)), nn.Sequential(nn.Linear(3, 2))
    found = catalog.resolve([first, second, first, "scratch:test_vit", "scratch:test_vit"])
    assert [item.name for item in found] == ["Sequential", "Sequential-2", "scratch:test_vit"]
    assert found[0].module is first
    assert found[0].fingerprint != found[1].fingerprint
    with torch.no_grad():
        first[0].weight += 1
    assert catalog.resolve(first)[0].fingerprint != found[0].fingerprint


def test_a_candidate_passes_through_unless_another_has_its_name() -> None:
    (given,) = catalog.resolve("scratch:test_vit")
    assert catalog.resolve(given) == (given,)
    with pytest.raises(CandidateError, match="two different candidates"):
        catalog.resolve([given, Candidate(given.name, "scratch", "test_vit2")])


def test_bundled_checkpoints_come_from_the_index_and_open(tmp_path: Path) -> None:
    bundle.write_index([entry(tmp_path, "b"), entry(tmp_path, "a")], tmp_path)
    found = catalog.bundled(tmp_path)
    assert [item.name for item in found] == ["bundled/a", "bundled/b"]
    model = zoo.build(found[0], classes=4)
    assert model.input.size == 32
    assert model.module(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_tampered_bundled_weights_are_refused(tmp_path: Path) -> None:
    bundle.write_index([entry(tmp_path, "a")], tmp_path)
    file = tmp_path / "a" / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(
        CandidateError, match=r"bundled/a: the weights in .* are not those that were resolved"
    ):
        zoo.build(catalog.bundled(tmp_path)[0], classes=4)


def test_an_index_must_exist_hold_something_and_be_of_this_format(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"no bundled checkpoints: .* does not exist"):
        catalog.bundled(tmp_path)
    bundle.write_index([], tmp_path)
    with pytest.raises(CandidateError, match=r"no bundled checkpoints: .* lists none"):
        catalog.bundled(tmp_path)
    (tmp_path / "index.json").write_text('{"format_version": 2}')
    with pytest.raises(CheckpointError, match="format version 2; expected 1"):
        catalog.bundled(tmp_path)
    (tmp_path / "index.json").write_text('{"format_version": 1, "checkpoints": [{"name": "x"}]}')
    with pytest.raises(CheckpointError, match="is damaged"):
        catalog.bundled(tmp_path)


def test_the_index_is_not_written_over_files_that_differ(tmp_path: Path) -> None:
    item = entry(tmp_path, "a")
    (tmp_path / "a" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(CheckpointError, match="its entry says"):
        bundle.write_index([item], tmp_path)
    assert not (tmp_path / "index.json").exists()


def test_checkpoints_that_are_absent_offline_are_named(tmp_path: Path) -> None:
    script = """
from fms_hub.errors import HubError
from fms_hub.models import catalog
for text in ("resnet18", "timm/test_vit.*", "microsoft/resnet-50", "hf-hub:timm/test_vit.r160_in1k@v1"):
    try:
        catalog.resolve(text)
    except HubError as error:
        print(error)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    repositories = (
        "timm/resnet18.a1_in1k",
        "timm/test_vit.r160_in1k",
        "microsoft/resnet-50",
        "timm/test_vit.r160_in1k",
    )
    for line, repository in zip(done.stdout.splitlines(), repositories, strict=True):
        assert line.startswith(repository)
        assert "not on this disk and the Hub cannot be reached" in line
