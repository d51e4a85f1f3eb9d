"""Candidates on the Hub described without a download: what travels, what stays, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from loopback_client import LoopbackHub
from safetensors.torch import load, save

from fms_hub.errors import CandidateError
from fms_hub.models import catalog, zoo
from fms_hub.models.tensors import parse_header
from fms_hub.weights.featurize import featurize
from fms_hub.weights.graph import WeightGraph

COMMIT = "c" * 40
WEIGHTS = "model.safetensors"

# Describes candidates on the Hub; the graph goes to a file, errors are printed in one line.
SHOW = """
from fms_hub.errors import FMSHubError
from fms_hub.weights.featurize import featurize

def show(text, to=None, **options):
    try:
        graph = featurize(text, **options)
    except FMSHubError as error:
        print(f"{type(error).__name__}: {error}")
        return
    if to:
        graph.save(to)
    print(text, graph.structure.rung, len(graph.structure.nodes))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as timm writes it: 7 classes, 160 px."""
    target: Path = tmp_path_factory.mktemp("checkpoint")
    (candidate,) = catalog.resolve("scratch:test_vit")
    zoo.export(zoo.build(candidate, classes=7, image_size=160, seed=4), candidate, tuple("abcdefg"), target)
    return target


def _files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def _header(content: bytes) -> bytes:
    return content[8 : 8 + int.from_bytes(content[:8], "little")]


def _kept(hub: LoopbackHub) -> list[str]:
    """Names of files in the clients' cache, blobs aside."""
    return sorted({path.name for path in hub.home.rglob("*") if path.is_file() and "blobs" not in path.parts})


def test_structure_needs_the_config_alone(hub: LoopbackHub, folder: Path) -> None:
    hub.add("org/net", _files(folder), COMMIT)
    (line,) = hub.run(f"{SHOW}\nshow('org/net', structure_only=True)")
    assert line.startswith("org/net meta ")
    assert hub.sent(f"/org/net/resolve/{COMMIT}/{WEIGHTS}") == []
    assert len(hub.sent(f"/org/net/resolve/{COMMIT}/config.json")) == 1


def test_a_streamed_graph_equals_the_local_one_and_only_its_bytes_travel(
    hub: LoopbackHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMS_HUB_CACHE", str(tmp_path / "cache"))
    files = _files(folder)
    hub.add("org/net", files, COMMIT)
    target = tmp_path / "streamed.safetensors"
    call = f"show('org/net', to={str(target)!r}, stream=True)"
    first, again = hub.run(f"{SHOW}\n{call}\n{call}")
    streamed, local = WeightGraph.load(target), featurize(folder)
    assert streamed.structure == local.structure
    assert np.array_equal(streamed.x, local.x) and np.abs(local.sketch).sum() > 0
    sizes = hub.sent(f"/org/net/resolve/{COMMIT}/{WEIGHTS}")
    tensors = [tensor.nbytes for tensor in load(files[WEIGHTS]).values()]
    header = len(_header(files[WEIGHTS]))
    # Once, though it was asked for twice: the graph is kept.
    assert sorted(sizes) == sorted([8, header, *tensors])
    assert sum(sizes) == len(files[WEIGHTS])
    assert WEIGHTS not in _kept(hub)
    assert max(path.stat().st_size for path in hub.home.rglob("*") if path.is_file()) < 100_000
    assert first == again


def test_shards_are_streamed_each_for_its_own_tensors(
    hub: LoopbackHub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FMS_HUB_CACHE", str(tmp_path / "cache"))
    files = _files(folder)
    state = load(files.pop(WEIGHTS))
    names = sorted(state)
    shards = {"m-1.safetensors": names[:20], "m-2.safetensors": names[20:]}
    for file, held in shards.items():
        files[file] = save({name: state[name] for name in held})
    weight_map = {name: file for file, held in shards.items() for name in held}
    files["model.safetensors.index.json"] = json.dumps({"weight_map": weight_map}).encode()
    hub.add("org/sharded", files, COMMIT)
    hub.add("org/lacking", {n: c for n, c in files.items() if n != "m-2.safetensors"}, COMMIT)
    target = tmp_path / "streamed.safetensors"
    lines = hub.run(
        f"{SHOW}\nshow('org/sharded', to={str(target)!r}, stream=True)\nshow('org/lacking', stream=True)"
    )
    assert np.array_equal(WeightGraph.load(target).x, featurize(folder).x)
    assert lines[1].startswith("CandidateError: org/lacking lacks the shards ['m-2.safetensors']")


def test_what_cannot_be_streamed_is_said(hub: LoopbackHub, folder: Path) -> None:
    files = _files(folder)
    state = load(files[WEIGHTS])
    hub.add("org/truncated", files | {WEIGHTS: files[WEIGHTS][:-100]}, COMMIT)
    hub.add("org/renamed", files | {WEIGHTS: save({f"model.{k}": v for k, v in state.items()})}, COMMIT)
    hub.add("org/pickled", {"config.json": files["config.json"], "pytorch_model.bin": b"pickle"}, COMMIT)
    hub.add("org/gated", files, COMMIT, gated=True)
    state["norm.weight"][3] = float("nan")
    hub.add("org/diverged", files | {WEIGHTS: save(state)}, COMMIT)
    names = ("truncated", "renamed", "pickled", "gated", "diverged")
    lines = hub.run(SHOW + "\n".join(f"show('org/{name}', stream=True)" for name in names))
    parts = [
        "CandidateError: model.safetensors of org/truncated is no sound safetensors file: its tensors end at",
        "CandidateError: org/renamed cannot be streamed, only loaded whole by its library",
        "CandidateError: org/pickled has no model.safetensors",
        "HubError: org/gated is gated",
        "CandidateError: org/diverged: expected finite values in 'norm.weight'",
    ]
    assert [line[: len(part)] for line, part in zip(lines, parts, strict=True)] == parts


Edit = Callable[[dict[str, dict[str, object]]], object]


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        (lambda h: h["b"].update(data_offsets=[0, 8]), "is said to lie at bytes 0 to"),
        (lambda h: h["b"].update(data_offsets=[20, 28]), "is said to lie at bytes 20 to 28"),
        (lambda h: h["b"].update(data_offsets=[16, 2**40]), "is said to lie"),
        (lambda h: h["b"].update(data_offsets=[16, -1]), "entry"),
        (lambda h: h["b"].update(shape=[3]), "is said to lie"),
        (lambda h: h["b"].update(shape=[2**40, 2**40]), "shape"),
        (lambda h: h["b"].update(shape=[True]), "entry"),
        (lambda h: h["b"].update(dtype="X9"), "type X9"),
        (lambda h: h.pop("b"), "tensors end at byte"),
    ],
)
def test_headers_that_lie_are_refused(edit: Edit, why: str) -> None:
    header: dict[str, dict[str, object]] = {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F16", "shape": [4], "data_offsets": [16, 24]},
    }
    sound = json.dumps(header).encode()
    places = parse_header(sound, 8 + len(sound) + 24, "f", "f")
    assert [(p.start - 8 - len(sound), tuple(p.meta.shape)) for p in places.values()] == [
        (0, (2, 2)),
        (16, (4,)),
    ]
    edit(header)
    edited = json.dumps(header).encode()
    with pytest.raises(CandidateError, match=why):
        parse_header(edited, 8 + len(edited) + 24, "f", "f")
    with pytest.raises(CandidateError, match="no JSON"):
        parse_header(b"{", 33, "f", "f")
