"""Candidates to weight graphs: equal to describing the loaded network, in little memory, kept on disk."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import fms_hub
from fms_hub.errors import CandidateError, StorageError
from fms_hub.models import catalog, original, zoo
from fms_hub.records import Candidate
from fms_hub.weights import cache
from fms_hub.weights.describe import describe, refresh
from fms_hub.weights.graph import COLUMNS, STRUCTURAL, WeightGraph

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(cache.VARIABLE, str(folder))
    return folder


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A timm checkpoint folder with 7 classes."""
    target: Path = tmp_path_factory.mktemp("published")
    (candidate,) = catalog.resolve("scratch:test_resnet")
    model = zoo.build(candidate, classes=7, seed=1)
    zoo.export(model, candidate, tuple("abcdefg"), target)
    return target


@pytest.fixture
def folder(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "net"))


def _rewrite(folder: Path, change: dict[str, Tensor], without: str = "") -> None:
    state = load_file(folder / WEIGHTS)
    save_file({k: v for k, v in (state | change).items() if k != without}, folder / WEIGHTS)


def _described(folder: Path) -> WeightGraph:
    (candidate,) = catalog.resolve(folder)
    model = original.load(candidate)
    return _unasked(model.module, (3, model.input.size, model.input.size))


def _unasked(module: nn.Module, size: tuple[int, int, int]) -> WeightGraph:
    """Described by its weights alone: featurizing runs no network."""
    return refresh(describe(module, size), dict(module.named_parameters()) | dict(module.named_buffers()))


def test_a_folder_gives_what_its_loaded_network_gives(folder: Path) -> None:
    graph, expected = fms_hub.featurize(folder), _described(folder)
    assert graph.structure == expected.structure and graph.structure.rung == "meta"
    assert np.array_equal(graph.x, expected.x)
    head = graph.structure.nodes[graph.structure.head or 0]
    assert head.shape[0] == 7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_files_of_other_float_types_give_the_same_to_a_hundredth(folder: Path, dtype: torch.dtype) -> None:
    full = fms_hub.featurize(folder)
    _rewrite(
        folder, {k: v.to(dtype) for k, v in load_file(folder / WEIGHTS).items() if v.is_floating_point()}
    )
    other = fms_hub.featurize(folder)
    np.testing.assert_allclose(other.x, full.x, rtol=1e-2, atol=2e-2)
    assert not np.array_equal(other.x, full.x)
    assert other.x.dtype == (np.float64 if dtype == torch.float64 else np.float32)


def test_shards_give_what_one_file_gives(folder: Path) -> None:
    whole = fms_hub.featurize(folder)
    state = load_file(folder / WEIGHTS)
    names = sorted(state)
    shards = {"m-1.safetensors": names[:30], "m-2.safetensors": names[30:]}
    for file, held in shards.items():
        save_file({name: state[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / WEIGHTS).unlink()
    assert np.array_equal(fms_hub.featurize(folder).x, whole.x)
    (folder / "m-2.safetensors").unlink()
    with pytest.raises(CandidateError, match=r"lacks the shards \['m-2.safetensors'\]"):
        fms_hub.featurize(folder)


def test_transformers_folders_are_read_by_their_own_names(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    graph, expected = fms_hub.featurize(tmp_path / "net"), _described(tmp_path / "net")
    assert np.array_equal(graph.x, expected.x) and graph.structure == expected.structure


def test_files_that_need_converting_are_loaded_whole_with_a_warning(folder: Path) -> None:
    _rewrite(folder, {"classifier.weight": load_file(folder / WEIGHTS)["fc.weight"]}, without="fc.weight")
    with pytest.warns(UserWarning, match="loaded whole"), pytest.raises(CandidateError, match="do not fit"):
        fms_hub.featurize(folder)
    (candidate,) = catalog.resolve("scratch:test_vit")
    model = zoo.build(candidate, classes=7, seed=1)
    zoo.export(model, candidate, tuple("abcdefg"), folder)
    state = load_file(folder / WEIGHTS)
    # As in older checkpoints: the patch embedding is a linear layer.
    flat = {"patch_embed.proj.weight": state["patch_embed.proj.weight"].flatten(1)}
    plain = fms_hub.featurize(folder)
    _rewrite(folder, flat)
    with pytest.warns(UserWarning, match=r"'patch_embed\.proj\.weight'"):
        converted = fms_hub.featurize(folder)
    assert np.array_equal(converted.x, plain.x)


def test_structure_alone_reads_no_weights(folder: Path) -> None:
    full = fms_hub.featurize(folder)
    (folder / WEIGHTS).write_bytes(b"")
    (candidate,) = catalog.resolve("scratch:test_resnet")
    folder_candidate = Candidate("net", "folder", "test_resnet", str(folder), fingerprint="none")
    bare = fms_hub.featurize(folder_candidate, structure_only=True)
    assert bare.structure == full.structure and bare.x.shape[1] == len(COLUMNS)
    assert np.array_equal(bare.x[:, : len(STRUCTURAL)], full.x[:, : len(STRUCTURAL)])
    assert not bare.sketch.any() and full.sketch.any()
    assert fms_hub.featurize(candidate, structure_only=True).structure != full.structure


def test_a_kept_graph_is_used_until_the_weights_change(folder: Path, cached: Path) -> None:
    first = fms_hub.featurize(folder)
    (kept,) = (cached / "graphs").iterdir()
    marked = WeightGraph(first.structure, np.array(first.x) * 2)
    marked.save(kept)
    assert np.array_equal(fms_hub.featurize(folder).sketch, marked.sketch)
    _rewrite(folder, {"fc.bias": torch.ones(7)})
    changed = fms_hub.featurize(folder)
    assert not np.array_equal(changed.x, first.x) and not np.array_equal(changed.x, marked.x)
    assert len(list((cached / "graphs").iterdir())) == 2
    assert len(list((cached / "structures").iterdir())) == 1


@pytest.mark.parametrize("kind", ["graphs", "structures"])
def test_damaged_entries_are_made_again_with_a_warning(folder: Path, cached: Path, kind: str) -> None:
    first = fms_hub.featurize(folder)
    (entry,) = (cached / kind).iterdir()
    sound = entry.read_bytes()
    entry.write_bytes(sound[: len(sound) // 2])
    if kind == "structures":
        shutil.rmtree(cached / "graphs")
    with pytest.warns(UserWarning, match="damaged and is made again"):
        again = fms_hub.featurize(folder)
    assert np.array_equal(again.x, first.x)
    fms_hub.featurize(folder)  # silently: the entry is sound again
    assert len(entry.read_bytes()) == len(sound)
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_cache_that_cannot_be_written_is_said(folder: Path, cached: Path) -> None:
    cached.write_text("a file")
    with pytest.raises(StorageError, match="FMS_HUB_CACHE"):
        fms_hub.featurize(folder)


def test_a_candidate_whose_folder_changed_is_refused(folder: Path) -> None:
    (candidate,) = catalog.resolve(folder)
    _rewrite(folder, {"fc.bias": torch.ones(7)})
    with pytest.raises(CandidateError, match="not those that were resolved"):
        fms_hub.featurize(candidate)


class Tokens(nn.Module):
    """Takes token ids, not images."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.out(self.table(ids).mean(1))
        return logits


class Own(nn.Module):
    """A user's own network."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.conv(images).relu().mean((2, 3)))
        return logits


def test_own_modules_are_described_as_they_are(cached: Path) -> None:
    module = Own()
    graph = fms_hub.featurize(module, image_size=32)
    assert graph.structure.rung == "meta"
    assert np.array_equal(graph.x, _unasked(module, (3, 32, 32)).x)
    assert np.array_equal(fms_hub.featurize(module, device="cpu").x, graph.x)
    assert not cached.exists()


def test_another_input_form_is_told_by_the_rung() -> None:
    graph = fms_hub.featurize(Tokens())
    assert graph.structure.rung == "modules" and "meta:" in graph.structure.reason
    assert graph.structure.covered == graph.structure.parameters


def test_what_is_no_model_or_has_no_weights_is_refused(folder: Path) -> None:
    with pytest.raises(CandidateError, match="found int"):
        fms_hub.featurize(3)  # type: ignore[arg-type]
    with pytest.raises(CandidateError, match="names 12 candidates"):
        fms_hub.featurize("bundled/*")
    with pytest.raises(CandidateError, match="no parameters"):
        fms_hub.featurize(nn.Identity())
    with torch.device("meta"):
        empty = Own()
    with pytest.raises(CandidateError, match="Own has no weights"):
        fms_hub.featurize(empty)
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(CandidateError, match=r"pytorch_model\.bin.*unpickling runs.*save_pretrained"):
        fms_hub.featurize(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["layer2.0.conv1.weight", "fc.bias", "bn1.running_var"])
def test_weights_that_are_not_finite_are_refused_by_name(folder: Path, name: str, value: float) -> None:
    tensor = load_file(folder / WEIGHTS)[name]
    tensor.view(-1)[3] = value
    _rewrite(folder, {name: tensor})
    with pytest.raises(CandidateError, match=f"finite values in '{name}'"):
        fms_hub.featurize(folder)


def test_files_that_are_not_what_they_say_are_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-10])
    with pytest.raises(CandidateError, match="no readable safetensors"):
        fms_hub.featurize(folder)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    start, stop = header["fc.bias"]["data_offsets"]
    header["fc.bias"]["data_offsets"] = [start, stop + 4]
    lying = json.dumps(header, separators=(",", ":")).encode().ljust(length)
    (folder / WEIGHTS).write_bytes(len(lying).to_bytes(8, "little") + lying + content[8 + length :])
    with pytest.raises(CandidateError, match="no readable safetensors"):
        fms_hub.featurize(folder)


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "resnet101"])
def test_a_large_networks_graph_is_at_most_64_kilobytes(name: str, tmp_path: Path) -> None:
    graph = fms_hub.featurize(f"scratch:{name}", structure_only=True)
    generator = np.random.default_rng(0)
    filled = WeightGraph.of(graph.structure, generator.normal(size=graph.sketch.shape).astype(np.float32))
    filled.save(tmp_path / "graph.safetensors", half=True)
    assert (tmp_path / "graph.safetensors").stat().st_size <= 64 * 1024


MEASURE = """
import sys, threading, time, torch
torch.set_num_threads(1)
import fms_hub

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon"))

fms_hub.featurize(sys.argv[1])
peak, done = anonymous(), False
before = peak
def watch():
    global peak
    while not done:
        peak = max(peak, anonymous())
        time.sleep(0.0005)
watcher = threading.Thread(target=watch)
watcher.start()
fms_hub.featurize(sys.argv[2])
done = True
watcher.join()
print((peak - before) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_below_three_copies_of_the_largest_tensor(folder: Path, tmp_path: Path) -> None:
    arguments = {"depth": 3, "mlp_ratio": 8, "img_size": 32, "num_classes": 5}
    vit = timm.create_model("vit_base_patch16_224", **arguments)
    timm.models.save_for_hf(vit, str(tmp_path / "vit"), model_args=arguments, safe_serialization=True)
    total = (tmp_path / "vit" / WEIGHTS).stat().st_size
    command = [sys.executable, "-c", MEASURE, str(folder), str(tmp_path / "vit")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    largest = 768 * 6144 * 4
    assert 0.5 * largest < int(done.stdout) <= 3 * largest < total
