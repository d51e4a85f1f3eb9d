"""Packs: what sweeps need in one small file, under names that cannot be mistaken for the datasets'."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from fms_hub.errors import TaskError
from training.corpus import pack as packing
from training.corpus import tasks
from training.corpus.pack import write_pack
from training.corpus.packed import Pack, cut, read_pack, sheet
from training.corpus.plan import PlannedRun

ROOT = Path(__file__).parents[2]
PLANNED = [
    PlannedRun("scans", "scratch:test_resnet", {"frozen": 1.0, "batch_size": 32}, 1, seed) for seed in (0, 1)
]


def tiles(count: int) -> NDArray[np.uint8]:
    """Pieces of 40 pixels of a photograph."""
    photograph = load_sample_images().images[0]
    return np.stack([photograph[40 * (i % 10) :, 40 * (i // 10) :][:40, :40] for i in range(count)])


def save(path: Path, train: NDArray[np.uint8], test: NDArray[np.uint8], layout: str) -> None:
    meta = {"repo": "https://example.org/x", "commit": "c" * 40, "licence": "CC0", "format": layout}
    arrays: dict[str, NDArray[np.generic]] = {
        "y_train": np.arange(len(train), dtype=np.int16) % 2,
        "y_test": np.arange(len(test), dtype=np.int16) % 2,
        "class_names": np.array(["a", "b"]),
    }
    if layout == "raw":
        arrays |= {"x_train": train, "x_test": test}
    for split, images in (("train", train), ("test", test)) if layout == "packed" else ():
        files = []
        for image in images:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            files.append(buffer.getvalue())
        arrays[f"{split}_buf"] = np.frombuffer(b"".join(files), dtype=np.uint8)
        arrays[f"{split}_off"] = np.cumsum([0, *map(len, files)])
        arrays[f"dom_{split}"] = np.arange(len(images), dtype=np.int8) // 2 % 2
        meta["image_mode"] = "RGB"
    np.savez(path, meta=json.dumps(meta), **arrays)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey scans of 8 pixels, and colour pieces of 40 pixels in two domains."""
    folder = tmp_path_factory.mktemp("data")
    scans = np.clip(load_digits().images[:160] * 16, 0, 255).astype(np.uint8)
    save(folder / "scans.npz", scans[:100], scans[100:], "raw")
    save(folder / "pieces.npz", tiles(80)[:60], tiles(80)[60:], "packed")
    return folder


@pytest.fixture(scope="module")
def pack(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    out = tmp_path_factory.mktemp("pack") / "corpus.npz"
    return write_pack(data, out, {"timm-tiny": ["scans", "pieces:art"], "small-cnn": ["scans"]}, PLANNED)


@pytest.mark.parametrize("shape", [(70, 32, 32), (33, 28, 28, 3), (1, 16, 16), (5, 8, 8, 3)])
def test_a_sheet_gives_the_images_back(shape: tuple[int, ...]) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    page = sheet(images)
    assert all(size % 16 == 0 for size in page.shape[:2])
    assert np.array_equal(cut(page, shape[1], shape[0]), images)


def test_a_packed_task_has_the_same_splits_and_nearly_the_same_images(data: Path, pack: Pack) -> None:
    for name in ("scans", "pieces:art"):
        there, packed = tasks.read_task(data, name, None), pack.task(pack.name(name))
        assert packed.info.classes == there.info.classes
        assert packed.info.sizes == there.info.sizes
        for split in ("train", "validation", "test"):
            before, after = getattr(there, split), getattr(packed, split)
            assert np.array_equal(before.labels, after.labels)
            for i in range(len(before.labels)):
                side = after.images[i].size
                image = before.images[i].resize(side, Image.Resampling.BICUBIC)
                error = np.asarray(image, float) - np.asarray(after.images[i], float)
                assert np.abs(error).mean() < 12


def test_images_are_reduced_and_never_enlarged(pack: Pack) -> None:
    sizes = {name: pack.task(pack.name(name)).train.images[0].size for name in ("scans", "pieces:art")}
    assert sizes == {"scans": (8, 8), "pieces:art": (32, 32)}
    assert {name: entry["mode"] for name, entry in pack.meta["tasks"].items()} == {
        "scans": "L",
        "pieces:art": "RGB",
    }


def test_names_tell_packs_from_datasets_and_from_each_other(data: Path, pack: Pack, tmp_path: Path) -> None:
    other = write_pack(data, tmp_path / "other.npz", {"small-cnn": ["scans"]}, [], quality=20)
    assert other.digest != pack.digest
    assert tasks.names(data, ["scans"]) == ["scans"]
    assert tasks.names(pack.path, ["scans"]) == [f"scans@{pack.digest}"]
    assert tasks.dataset(pack.name("pieces:art")) == "pieces"
    for folder, name in [(data, pack.name("scans")), (pack.path, "scans"), (pack.path, other.name("scans"))]:
        with pytest.raises(TaskError, match="scans"):
            tasks.read_task(folder, name, None)
    with pytest.raises(TaskError, match="no task 'tables'"):
        pack.name("tables")


def test_a_pack_is_the_same_when_it_is_made_again(data: Path, pack: Pack, tmp_path: Path) -> None:
    hubs = {"timm-tiny": ["scans", "pieces:art"], "small-cnn": ["scans"]}
    again = write_pack(data, tmp_path / "again.npz", hubs, PLANNED)
    assert again.digest == pack.digest
    assert again.path.read_bytes() == pack.path.read_bytes()
    assert write_pack(data, tmp_path / "unplanned.npz", hubs, []).digest == pack.digest


def test_the_plan_comes_back_on_the_packs_tasks(pack: Pack) -> None:
    assert pack.plan() == [replace(run, task=pack.name("scans")) for run in PLANNED]


def test_provenance_names_the_pack(pack: Pack) -> None:
    found = tasks.provenance(pack.path, pack.name("scans"))
    assert found.repo == f"pack {pack.digest} of https://example.org/x"
    assert (found.commit, found.licence) == ("c" * 40, "CC0")
    assert tasks.limit(pack.path, 500) is None


def test_a_pack_too_large_to_carry_is_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "MOST_BYTES", 3000)
    with pytest.raises(TaskError, match="--quality"):
        write_pack(data, tmp_path / "large.npz", {"small-cnn": ["scans", "pieces:art"]}, [])
    assert not (tmp_path / "large.npz").exists()


@pytest.mark.parametrize("damage", ["cut", "version", "dataset", "lacking"])
def test_what_is_no_pack_is_refused_by_name(data: Path, pack: Pack, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.npz"
    if damage == "cut":
        path.write_bytes(pack.path.read_bytes()[:-200])
    elif damage == "dataset":
        path.write_bytes((data / "scans.npz").read_bytes())
    else:
        with np.load(pack.path) as file:
            arrays = dict(file)
        meta = {**pack.meta, "version": 9 if damage == "version" else 1}
        if damage == "lacking":
            del arrays["scans/train/sheet"]
        np.savez(path, **arrays | {"meta": np.array(json.dumps(meta))})
    with pytest.raises(TaskError, match=r"damaged\.npz"):
        read_pack(path)


WITHOUT = """
import runpy, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("huggingface_hub", "datasets", "ConfigSpace"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
sys.argv = ["training.corpus", *sys.argv[1:]]
runpy.run_module("training.corpus", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("command", "trained"),
    [(["timm-tiny"], 2), (["small-cnn", "--tasks", "scans", "--runs", "1"], 1)],
)
def test_sweeps_run_from_a_pack_without_the_hub_datasets_and_configspace(
    pack: Pack, tmp_path: Path, command: list[str], trained: int
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT, *command, "--data", str(pack.path), "--out", str(tmp_path / "out")],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"trained {trained} runs" in result.stdout
