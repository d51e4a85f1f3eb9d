"""The surrogate that comes with the package: sound, small, told of in its card, and useful at once."""

import json
import re

import pytest

import fms_hub
from fms_hub.search.space import Space
from fms_hub.surrogate import card, pretrained, storage
from fms_hub.surrogate.naming import resolve_surrogate
from fms_hub.weights.pooling import POOLED

FOLDER = pretrained.BUNDLED_FOLDER


def test_it_is_the_default_small_and_knows_the_default_space() -> None:
    found = resolve_surrogate(None)
    assert found.identity == resolve_surrogate("bundled").identity
    assert found.learned is not None and found.data is None
    assert found.learned.hyperparameters == Space().columns
    assert found.learned.widths["weights"] == len(POOLED)
    assert (FOLDER / pretrained.FILE_NAME).stat().st_size < 8e6


def test_its_card_and_config_are_those_of_the_file() -> None:
    header = storage.header(FOLDER / pretrained.FILE_NAME)
    assert (FOLDER / card.CONFIG).read_text() == card.config(header)
    told = (FOLDER / card.FILE).read_text()
    assert f"# {header['name']}" in told
    assert re.search(r"\| timm-tiny \| [0-9a-f]{64} \|", told)
    for data in ("usps", "gtsrb", "tiny_imagenet32", "cifar10"):
        assert re.search(rf"\| {data} \| \S.*\|", told), data


def test_before_any_training_it_prefers_what_has_seen_characters_for_digits(
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ["scratch:test_resnet", "bundled/test_resnet.mnist", "bundled/test_resnet.omniglot_small"]
    found = fms_hub.recommend("digits", names, image_size=32, progress=False)
    assert found.surrogate == json.loads((FOLDER / card.CONFIG).read_text())["name"]
    assert found.advice[-1].candidate == "scratch:test_resnet"
    assert all(0.3 < item.low < item.score < item.high <= 1.0 for item in found.advice)
    assert all(item.outside == 0.0 for item in found.advice)
    assert capsys.readouterr().out == ""
