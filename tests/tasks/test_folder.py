"""Folders of class folders, with and without split folders, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from fms_hub.errors import TaskError
from fms_hub.tasks.folder import read_folder
from fms_hub.tasks.verify import Found

WriteTree = Callable[[Mapping[str, int]], Path]


def listing(found: Found) -> dict[str, int]:
    return {found.images.name(i): int(found.labels[i]) for i in range(len(found.images))}


def test_class_folders_alone(write_tree: WriteTree) -> None:
    found = read_folder(write_tree({"dog": 2, "cat": 1, "Ape": 1}))
    assert (found.name, found.classes) == ("scans", ("Ape", "cat", "dog"))
    assert list(found.splits) == ["train"]
    assert listing(found.splits["train"]) == {"Ape/0.jpg": 0, "cat/0.jpg": 1, "dog/0.jpg": 2, "dog/1.png": 2}


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (["Train", "VAL", "test"], ["train", "validation", "test"]),
        (["training", "Test"], ["train", "test"]),
        (["train", "valid"], ["train", "validation"]),
        (["train"], ["train"]),
    ],
)
def test_split_folders_in_any_spelling(write_tree: WriteTree, folders: list[str], splits: list[str]) -> None:
    root = write_tree({f"{folder}/{name}": 2 for folder in folders for name in ("cat", "dog")})
    found = read_folder(root)
    assert list(found.splits) == splits
    assert found.classes == ("cat", "dog")
    assert list(listing(found.splits["train"])) == [
        f"{folders[0]}/{name}" for name in ("cat/0.jpg", "cat/1.png", "dog/0.jpg", "dog/1.png")
    ]


def test_a_class_of_trains_is_no_split(write_tree: WriteTree) -> None:
    assert read_folder(write_tree({"train": 2, "car": 2})).classes == ("car", "train")


def test_hidden_and_other_files_are_passed_over(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 1, "dog": 1, ".cache": 1, "__MACOSX": 1})
    for name in ("._0.jpg", "notes.txt", "Thumbs.db"):
        (root / "cat" / name).write_text("no image")
    (root / "README.md").write_text("# scans")
    found = read_folder(root)
    assert listing(found.splits["train"]) == {"cat/0.jpg": 0, "dog/0.jpg": 1}


def test_unsupported_images_are_listed_not_lost(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 1, "dog": 1})
    (root / "cat" / "phone.HEIC").write_bytes(b"\x00\x00\x00\x18ftypheic")
    assert "cat/phone.HEIC" in listing(read_folder(root).splits["train"])


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"is empty\. Expected one folder per class"):
        read_folder(tmp_path)


def test_folder_without_images_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("cat/a.txt", "cat/b.txt", "labels.csv"):
        (tmp_path / name).write_text("no image")
    with pytest.raises(TaskError, match=r"holds no images among its 3 files \(\.csv, \.txt\)"):
        read_folder(tmp_path)


def test_images_without_class_folders(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="holds 3 images directly, without class folders"):
        read_folder(write_tree({".": 3}))


def test_images_beside_class_folders_are_mentioned(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 1, "dog": 1, ".": 2})
    with pytest.warns(UserWarning, match="passed over 2 images directly in"):
        found = read_folder(root)
    assert len(found.splits["train"].labels) == 2


def test_nested_class_folders(write_tree: WriteTree) -> None:
    root = write_tree({"animals/cat": 1, "animals/dog": 1, "plants": 1})
    with pytest.raises(TaskError, match=r"animals holds further folders of images: cat, dog"):
        read_folder(root)


def test_deeply_nested_images(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="cat holds further folders of images: 2024"):
        read_folder(write_tree({"cat/2024/may": 1, "dog": 1}))


def test_a_class_folder_without_images(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 1, "dog": 1, "emu": 0})
    with pytest.raises(TaskError, match=r"the folders emu in .* hold no images"):
        read_folder(root)


def test_splits_without_train(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="holds validation and test but no train folder"):
        read_folder(write_tree({"val/cat": 1, "val/dog": 1, "test/cat": 1, "test/dog": 1}))


def test_a_split_twice(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="the validation split twice: val and valid"):
        read_folder(
            write_tree({f"{split}/{name}": 1 for split in ("train", "val", "valid") for name in "ab"})
        )


def test_a_class_that_only_test_has(write_tree: WriteTree) -> None:
    root = write_tree({"train/cat": 3, "train/dog": 3, "test/cat": 1, "test/dog": 1, "test/emu": 1})
    with pytest.raises(TaskError, match="test has emu that train lacks"):
        read_folder(root)


def test_a_class_that_validation_lacks(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match=r"validation has Dog that train lacks and lacks dog of train"):
        read_folder(write_tree({"train/cat": 3, "train/dog": 3, "val/cat": 1, "val/Dog": 1}))


def test_a_class_that_test_lacks(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match=r"but test lacks dog of train\."):
        read_folder(write_tree({"train/cat": 3, "train/dog": 3, "test/cat": 1}))


def test_folders_beside_splits_are_mentioned(write_tree: WriteTree) -> None:
    root = write_tree({"train/cat": 1, "train/dog": 1, "extra/cat": 1, "figures": 1})
    (root / "docs").mkdir()
    with pytest.warns(UserWarning, match=r"passed over the folders beside them: extra, figures\."):
        found = read_folder(root)
    assert np.array_equal(found.splits["train"].labels, [0, 1])
