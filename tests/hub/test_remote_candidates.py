"""Candidates that live on the Hub: resolved, pinned, fetched, built, and built again without network."""

import hashlib
import json
from pathlib import Path

import pytest
from loopback_client import LoopbackHub
from safetensors.torch import load

from fms_hub.models import catalog, zoo

FIRST, SECOND = "a" * 40, "b" * 40
INDEX = "model.safetensors.index.json"

# Prints what a candidate became and the sha256 of its first weights, or the error in one line.
SHOW = """
import hashlib
from fms_hub.errors import FMSHubError
from fms_hub.models import catalog, zoo

def show(text):
    try:
        (candidate,) = catalog.resolve(text)
        zoo.ensure_local(candidate)
        model = zoo.build(candidate, classes=5, image_size=64, seed=0)
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")
        return
    weights = model.module.get_parameter("patch_embed.proj.weight").detach().numpy().tobytes()
    print(candidate.name, candidate.source, candidate.architecture, candidate.revision)
    print(hashlib.sha256(weights).hexdigest())
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a checkpoint as timm publishes them: 1000 classes, 160 px."""
    folder: Path = tmp_path_factory.mktemp("checkpoint")
    (candidate,) = catalog.resolve("scratch:test_vit")
    classes = tuple(map(str, range(1000)))
    zoo.export(zoo.build(candidate, classes=1000, image_size=160, seed=4), candidate, classes, folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_candidate_is_fetched_at_its_commit_and_then_works_offline(
    hub: LoopbackHub, checkpoint: dict[str, bytes]
) -> None:
    hub.add("org/net", checkpoint, FIRST)
    hub.add("org/net", {"config.json": b"{}"}, SECOND)
    hub.add("timm/test_vit.r160_in1k", {"model.safetensors": checkpoint["model.safetensors"]}, SECOND)
    script = f"{SHOW}\nshow('hf-hub:org/net@{FIRST}')\nshow('test_vit')"
    first_weights = load(checkpoint["model.safetensors"])["patch_embed.proj.weight"].numpy().tobytes()
    digest = hashlib.sha256(first_weights).hexdigest()
    expected = [
        f"org/net@{FIRST} timm test_vit {FIRST}",
        digest,
        f"timm/test_vit.r160_in1k timm test_vit {SECOND}",
        digest,
    ]
    assert hub.run(script) == expected
    assert hub.run(script, offline=True) == expected


def test_what_the_hub_lacks_or_keeps_back_is_said(hub: LoopbackHub, checkpoint: dict[str, bytes]) -> None:
    pickled = {"config.json": checkpoint["config.json"], "pytorch_model.bin": b"pickle"}
    hub.add("org/pickled", pickled, FIRST)
    hub.add("org/gated", checkpoint, FIRST, gated=True)
    hub.add("org/weights", {"model.safetensors": b"x"}, FIRST)
    answers = hub.run(f"""{SHOW}
show("org/pickled")
show("org/gated")
show("org/weights")
show("timn/test_vit.r160_in1k")
""")
    parts = [
        "CandidateError: org/pickled has no model.safetensors",
        "HubError: org/gated is gated",
        "CandidateError: org/weights has no config.json",
        "HubError: the Hub has no model repository 'timn/test_vit.r160_in1k'",
    ]
    assert len(answers) == len(parts)
    for answer, part in zip(answers, parts, strict=True):
        assert answer.startswith(part)
    assert "Did you mean timm/test_vit.r160_in1k" in answers[-1]


def test_shards_are_fetched_as_their_index_lists_them(hub: LoopbackHub) -> None:
    def index(*shards: str) -> bytes:
        return json.dumps({"weight_map": {name: name for name in shards}}).encode()

    config = {"config.json": b'{"model_type": "vit"}', "preprocessor_config.json": b"{}"}
    shards = {
        "model-1.safetensors": b"one",
        "model-2.safetensors": b"two",
        "model-3.safetensors": b"of another",
    }
    hub.add(
        "org/sharded", config | shards | {INDEX: index("model-1.safetensors", "model-2.safetensors")}, FIRST
    )
    hub.add("org/astray", config | {INDEX: index("../../../refs/main")}, FIRST)
    answers = hub.run(f"""
from fms_hub.errors import CandidateError
from fms_hub.models import remote
print(sorted(path.name for path in remote.fetch_folder("org/sharded", "{FIRST}").iterdir()))
try:
    remote.fetch_folder("org/astray", "{FIRST}")
except CandidateError as error:
    print(error)
""")
    fetched = sorted([*config, *list(shards)[:2], INDEX])
    assert answers[0] == str(fetched)
    assert answers[1].startswith(f"{INDEX} of org/astray must list safetensors files beside it")
