"""The corpus' datasets are read in both layouts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from fms_hub.errors import TaskError
from training.data import Provenance, read_npz, read_provenance

SOURCE = {"repo": "https://example.org/scans", "commit": "0" * 40, "licence": "CC0"}
Arrays = dict[str, NDArray[Any]]


def meta(**entries: str) -> NDArray[np.str_]:
    return np.array(json.dumps(SOURCE | entries))


@pytest.fixture(scope="module")
def scans() -> NDArray[np.uint8]:
    return np.rint(load_digits().images[:150] * (255 / 16)).astype(np.uint8)


@pytest.fixture
def raw(scans: NDArray[np.uint8]) -> Arrays:
    """120 training and 30 test scans of three classes, gray; one class holds half of the training scans."""
    y_train = np.array([0, 0, 1, 2] * 30, dtype=np.int16)
    return {
        "x_train": scans[:120],
        "y_train": y_train,
        "x_test": scans[120:],
        "y_test": np.arange(30, dtype=np.int16) % 3,
        "class_names": np.array(["ant", "bee", "fly"]),
        "meta": meta(format="raw"),
    }


def packed(raw: Arrays, mode: str) -> Arrays:
    """The same as image files end to end, with two domains in turn."""
    arrays = {name: raw[name] for name in ("y_train", "y_test", "class_names")}
    for split in ("train", "test"):
        files = []
        for scan in raw[f"x_{split}"]:
            buffer = io.BytesIO()
            Image.fromarray(scan).convert(mode).save(buffer, "JPEG", quality=95)
            files.append(buffer.getvalue())
        arrays[f"{split}_buf"] = np.frombuffer(b"".join(files), dtype=np.uint8)
        arrays[f"{split}_off"] = np.cumsum([0, *map(len, files)])
        arrays[f"dom_{split}"] = (np.arange(len(files)) // 3 % 2 + 2).astype(np.int8)
    return arrays | {"meta": meta(format="packed", image_mode=mode)}


def write(folder: Path, arrays: Arrays) -> Path:
    np.savez(folder / "scans.npz", **arrays)
    return folder / "scans.npz"


def test_raw(tmp_path: Path, raw: Arrays) -> None:
    task = read_npz(write(tmp_path, raw))
    assert (task.info.name, task.info.classes) == ("scans", ("ant", "bee", "fly"))
    assert task.info.sizes == {"train": 96, "validation": 24, "test": 30}
    assert task.test.labels.tolist() == [0, 1, 2] * 10
    assert np.array_equal(np.asarray(task.test.images[4])[..., 0], raw["x_test"][4])


def test_raw_colour(tmp_path: Path, raw: Arrays) -> None:
    colour = {name: np.stack([raw[name]] * 3, axis=3) for name in ("x_train", "x_test")}
    task = read_npz(write(tmp_path, raw | colour))
    assert np.array_equal(np.asarray(task.test.images[4]), colour["x_test"][4])


def test_its_own_validation_split(tmp_path: Path, raw: Arrays) -> None:
    own = {"x_val": raw["x_test"][20:29], "y_val": raw["y_test"][20:29]}
    task = read_npz(write(tmp_path, raw | own), limit=40)
    assert task.info.sizes == {"train": 40, "validation": 9, "test": 30}
    assert np.array_equal(np.asarray(task.validation.images[4])[..., 0], raw["x_test"][24])
    assert task.validation.labels.tolist() == [2, 0, 1] * 3


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_packed(tmp_path: Path, raw: Arrays, mode: str) -> None:
    task = read_npz(write(tmp_path, packed(raw, mode)))
    assert task.info.sizes == {"train": 96, "validation": 24, "test": 30}
    for i in (0, 13, 29):
        shown = np.asarray(task.test.images[i])[..., 0].astype(int)
        assert np.abs(shown - raw["x_test"][i]).max() < 40
        assert np.abs(shown - raw["x_test"][i - 1]).max() > 80
    assert task.test.labels.tolist() == [0, 1, 2] * 10


def test_one_domain(tmp_path: Path, raw: Arrays) -> None:
    path = write(tmp_path, packed(raw, "L"))
    photo, sketch = read_npz(path, domain="photo"), read_npz(path, domain="sketch")
    assert photo.info.name == "scans-photo"
    assert photo.info.sizes["test"] == sketch.info.sizes["test"] == 15
    everything = read_npz(path)
    assert np.array_equal(np.asarray(photo.test.images[3]), np.asarray(everything.test.images[6]))
    assert np.array_equal(np.asarray(sketch.test.images[0]), np.asarray(everything.test.images[3]))


@pytest.mark.parametrize("layout", [lambda raw: raw, lambda raw: packed(raw, "L")])
def test_limit_is_stratified_and_seeded(tmp_path: Path, raw: Arrays, layout) -> None:
    path = write(tmp_path, layout(raw))
    tasks = [read_npz(path, limit=60, seed=seed) for seed in (1, 1, 2)]
    for task in tasks:
        both = np.concatenate([task.train.labels, task.validation.labels])
        assert np.bincount(both).tolist() == [30, 15, 15]
        assert task.info.sizes["test"] == 30
    assert tasks[0].info.fingerprint == tasks[1].info.fingerprint != tasks[2].info.fingerprint


def test_a_small_limit_keeps_rare_classes(tmp_path: Path, raw: Arrays) -> None:
    raw["y_train"] = np.array([0] * 112 + [1] * 5 + [2] * 3, dtype=np.int16)
    path = write(tmp_path, raw)
    task = read_npz(path, limit=9)
    assert np.bincount(np.concatenate([task.train.labels, task.validation.labels])).tolist() == [5, 2, 2]
    with pytest.raises(TaskError, match="3 classes need a limit of at least 6 training images, found 5"):
        read_npz(path, limit=5)


def test_a_large_limit_changes_nothing(tmp_path: Path, raw: Arrays) -> None:
    path = write(tmp_path, raw)
    assert read_npz(path, limit=1000).info == read_npz(path).info


def test_provenance(tmp_path: Path, raw: Arrays) -> None:
    expected = Provenance("https://example.org/scans", "0" * 40, "CC0")
    assert read_provenance(write(tmp_path, raw)) == expected


def test_domains_that_are_not_there(tmp_path: Path, raw: Arrays) -> None:
    path = write(tmp_path, raw)
    with pytest.raises(TaskError, match="this dataset has no domains; found domain='photo'"):
        read_npz(path, domain="photo")
    path = write(tmp_path, packed(raw, "L"))
    with pytest.raises(TaskError, match="one of art, cartoon, photo, sketch; found 'oil'"):
        read_npz(path, domain="oil")


def test_files_that_cannot_be_read(tmp_path: Path, raw: Arrays) -> None:
    with pytest.raises(TaskError, match=r"none\.npz is no dataset that can be read here: .*No such file"):
        read_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(TaskError, match=r"text\.npz is no dataset"):
        read_provenance(tmp_path / "text.npz")
    path = write(tmp_path, raw | {"meta": meta(format="tar")})
    with pytest.raises(TaskError, match="the format 'raw' or 'packed', found 'tar'"):
        read_npz(path)
    del raw["y_test"]
    with pytest.raises(TaskError, match="y_test"):
        read_npz(write(tmp_path, raw))
