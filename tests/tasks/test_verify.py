"""The one pass over all images: what is damaged is named or left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fms_hub.errors import TaskError
from fms_hub.tasks.folder import read_folder
from fms_hub.tasks.verify import FoundTask, verify

WriteTree = Callable[[Mapping[str, int]], Path]


@pytest.fixture
def root(write_tree: WriteTree) -> Path:
    return write_tree({"train/cat": 40, "train/dog": 40, "val/cat": 2, "val/dog": 2})


def found(root: Path) -> FoundTask:
    return read_folder(root)


def damage(*paths: Path) -> None:
    for path in paths:
        path.write_bytes(path.read_bytes()[:-30])


def test_content_is_hashed_and_measured(root: Path) -> None:
    portions = verify(found(root).splits)
    train = portions["train"]
    assert train.digests[1] == hashlib.sha256((root / "train/cat/1.png").read_bytes()).hexdigest()
    assert train.sizes.tolist() == [[8, 8]] * 80
    assert np.bincount(train.labels).tolist() == [40, 40]
    assert len(portions["validation"].digests) == 4


def test_progress_counts_every_image_once(root: Path) -> None:
    calls: list[tuple[int, int]] = []
    verify(found(root).splits, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(i + 1, 84) for i in range(84)]


def test_damaged_images_are_named(root: Path) -> None:
    damage(root / "train/cat/0.jpg", root / "val/dog/1.png")
    with pytest.raises(TaskError) as caught:
        verify(found(root).splits)
    message = str(caught.value)
    assert message.startswith("2 of 84 images cannot be used: train/cat/0.jpg cannot be decoded (")
    assert "; val/dog/1.png cannot be decoded (" in message
    assert "skip_bad=True (--skip-bad)" in message
    assert str(root) not in message


def test_only_the_first_of_many_are_named(root: Path) -> None:
    damage(*(root / "train/dog").glob("*.jpg"))
    with pytest.raises(
        TaskError, match=r"^20 of 84 images cannot be used: .*; and 15 more\. Repair"
    ) as caught:
        verify(found(root).splits)
    assert str(caught.value).count("train/dog") == 5


def test_damaged_images_can_be_left_out(root: Path) -> None:
    (root / "train/cat/0.jpg").write_text("not an image")
    damage(root / "train/dog/39.png")
    with pytest.warns(UserWarning, match=r"skipped 2 of 84 images: train/cat/0.jpg .*; train/dog/39.png"):
        portions = verify(found(root).splits, skip_bad=True)
    train = portions["train"]
    assert np.bincount(train.labels).tolist() == [39, 39]
    assert (train.images.name(0), train.images.name(39)) == ("train/cat/1.png", "train/dog/0.jpg")
    assert "train/dog/39.png" not in [train.images.name(i) for i in range(78)]
    assert len(train.images) == len(train.digests) == len(train.sizes) == 78


def test_a_file_that_cannot_be_read_is_named(root: Path) -> None:
    tables = found(root)
    (root / "val/cat/0.jpg").unlink()
    with pytest.raises(TaskError, match=r"1 of 84 .* val/cat/0\.jpg cannot be read \(No such file"):
        verify(tables.splits)
