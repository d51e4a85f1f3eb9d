from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_digits

from fms_hub.finetune.checkpoint import read
from fms_hub.models import bundle
from fms_hub.models.catalog import bundled
from fms_hub.models.folder import sha256
from fms_hub.models.zoo import build
from training.pretrain.card import card
from training.pretrain.plan import PLAN, Pretraining
from training.pretrain.run import Places, is_bundled, pretrain
from training.pretrain.sources import SOURCES

SHORT = Pretraining("test_efficientnet", "scans", 2)
CONTROL = Pretraining("test_convnext", "scans", 0)


@pytest.fixture
def places(tmp_path) -> Places:
    """A dataset file of 300 real scans, and an empty bundle."""
    scans = load_digits()
    pixels, labels = (scans.images / 16 * 255).astype(np.uint8), scans.target
    meta = {
        "repo": "https://example.org/scans",
        "commit": "0123456789abcdef",
        "licence": "MIT",
        "format": "raw",
    }
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data" / "scans.npz",
        x_train=pixels[:300],
        y_train=labels[:300],
        x_test=pixels[300:400],
        y_test=labels[300:400],
        class_names=np.array([str(digit) for digit in range(10)]),
        meta=np.array(json.dumps(meta)),
    )
    return Places(tmp_path / "data", tmp_path / "bundle")


def never() -> bool:
    return False


def test_a_checkpoint_is_trained_listed_and_opens_as_a_candidate(places):
    entry = pretrain(SHORT, places, never)
    assert entry is not None
    assert bundle.read_index(places.bundle) == (entry,)
    assert is_bundled(SHORT, places)
    assert not is_bundled(CONTROL, places)
    assert (entry.name, entry.epochs, entry.classes) == ("bundled/test_efficientnet.scans", 2, 10)
    assert entry.data == "240 images of scans, https://example.org/scans at 0123456789ab"
    assert entry.licence == "MIT"
    assert (
        entry.command
        == "python -m training.pretrain --plan bundled --data DATA --only test_efficientnet.scans"
    )
    assert not places.run(SHORT).exists()
    (candidate,) = bundled(places.bundle)
    assert build(candidate, classes=3, image_size=32).module(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_accuracy_is_of_the_weights_as_shipped(places):
    entry = pretrain(SHORT, places, never)
    assert entry is not None
    module = timm.create_model(
        f"local-dir:{places.bundle / 'test_efficientnet.scans'}", pretrained=True
    ).eval()
    config = timm.data.resolve_model_data_config(module)
    assert config["input_size"] == (3, 32, 32)
    transform = timm.data.create_transform(**config)
    scans = load_digits()
    pixels = (scans.images[300:400] / 16 * 255).astype(np.uint8)
    batch = torch.stack([transform(Image.fromarray(image).convert("RGB")) for image in pixels])
    with torch.no_grad():
        predictions = module(batch).argmax(dim=1).numpy()
    assert (predictions == scans.target[300:400]).mean() == pytest.approx(entry.accuracy)


def test_when_time_is_up_the_next_call_goes_on(places):
    straight = pretrain(SHORT, places, never)
    first = Places(places.data, places.bundle.with_name("again"))
    folder = first.run(SHORT)
    assert straight is not None
    assert pretrain(SHORT, first, (folder / "epoch1").exists) is None
    assert read(folder / "epoch1").state.epoch == 1
    assert not is_bundled(SHORT, first)
    resumed = pretrain(SHORT, first, never)
    assert resumed == straight


def test_the_control_keeps_its_initialisation_and_says_so(places):
    pretrain(SHORT, places, never)
    entry = pretrain(CONTROL, places, never)
    assert entry is not None
    assert (entry.name, entry.epochs, entry.data) == ("bundled/test_convnext.random", 0, "none")
    assert entry.accuracy < 0.3
    assert {item.name for item in bundle.read_index(places.bundle)} == {
        "bundled/test_convnext.random",
        "bundled/test_efficientnet.scans",
    }


def test_the_plan_is_varied_and_what_is_bundled():
    assert len({p.name for p in PLAN}) == len(PLAN) >= 10
    bundle_names = {entry.name for entry in bundle.read_index()}
    assert {f"bundled/{p.name}" for p in PLAN} == bundle_names
    assert len({p.architecture.rstrip("0123456789").removesuffix("_gn") for p in PLAN}) >= 6
    assert len({p.data for p in PLAN}) >= 5
    assert sum(p.epochs == 0 for p in PLAN) == 1


def test_the_sources_of_the_corpus_meet_its_targets():
    assert len({p.name for p in SOURCES}) == len(SOURCES)
    assert not {p.name for p in SOURCES} & {p.name for p in PLAN}
    architectures = {p.architecture for p in SOURCES}
    assert len(architectures) >= 12
    assert len({timm.create_model(a).__module__ for a in architectures}) >= 8
    for architecture in architectures:
        data = {p.data for p in (*SOURCES, *PLAN) if p.architecture == architecture and p.epochs}
        assert len(data) >= 3, architecture
    assert len(SOURCES) + len(PLAN) >= 39


def test_the_committed_card_is_that_of_the_committed_bundle():
    entries = bundle.read_index()
    sizes = [(bundle.ROOT / entry.file).stat().st_size for entry in entries]
    path = Path(__file__).parents[2] / "model_cards" / "bundled.md"
    assert path.read_text(encoding="utf-8") == card(entries, sizes)
    assert sum(sizes) < 8e6
    assert [sha256(bundle.ROOT / entry.file) for entry in entries] == [entry.sha256 for entry in entries]


def test_the_card_says_what_the_index_says(places):
    entry = pretrain(CONTROL, places, never)
    assert entry is not None
    text = card([entry], [123456])
    assert f"| `{entry.name}` | {entry.parameters:,} | 10 | 0 | {entry.accuracy:.3f} | 123 |" in text
    assert f"| none | Apache-2.0 (no data) | `{entry.command}` | `{entry.sha256[:16]}` |" in text
    assert "1 timm architectures" in text
