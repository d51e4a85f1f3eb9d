"""The one entrance: whatever the user has becomes a verified Task."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import HubError, TaskError
from fms_hub.tasks.dataset import load_task

WriteTree = Callable[[Mapping[str, int]], Path]


def as_table(root: Path) -> datasets.Dataset:
    """The files of a tree of class folders as a table in memory, the bytes embedded."""
    paths = sorted(root.rglob("*.*"))
    names = sorted({path.parent.name for path in paths})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    rows = {
        "image": [{"bytes": path.read_bytes(), "path": None} for path in paths],
        "label": [path.parent.name for path in paths],
    }
    return datasets.Dataset.from_dict(rows, features=features)


def test_digits(scans: NDArray[np.uint8]) -> None:
    task = load_task("digits")
    assert task.info.name == "digits"
    assert task.info.classes == tuple("0123456789")
    assert task.info.sizes == {"train": 1151, "validation": 287, "test": 359}
    everything = np.concatenate(
        [
            [np.asarray(image)[..., 0] for image in split.images]
            for split in (task.train, task.validation, task.test)
        ]
    )
    assert sorted(map(bytes, everything)) == sorted(map(bytes, scans))
    assert (everything.min(), everything.max()) == (0, 255)
    assert load_task("digits").info == task.info
    assert load_task("digits", seed=1).info.fingerprint != task.info.fingerprint


def test_a_task_comes_back() -> None:
    task = load_task("digits")
    assert load_task(task) is task


def test_a_folder_of_class_folders(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 20, "dog": 10})
    task = load_task(root)
    assert (task.info.name, task.info.classes) == ("scans", ("cat", "dog"))
    assert task.info.sizes == {"train": 19, "validation": 5, "test": 6}
    assert np.bincount(task.test.labels).tolist() == [4, 2]
    assert {image.mode for image in task.train.images} == {"RGB"}
    assert load_task(str(root)).info == task.info


def test_a_folder_with_splits(write_tree: WriteTree) -> None:
    sizes = {"train": 5, "Validation": 3, "TEST": 2}
    root = write_tree({f"{split}/{name}": count for split, count in sizes.items() for name in ("cat", "dog")})
    assert load_task(root).info.sizes == {"train": 10, "validation": 6, "test": 4}


def test_a_relative_path_wins_over_the_hub(write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree({"pets/cat": 3, "pets/dog": 3, "digits/a": 3, "digits/b": 3})
    monkeypatch.chdir(root.parent)
    info = load_task("scans/pets").info
    assert (info.name, info.classes) == ("pets", ("cat", "dog"))
    monkeypatch.chdir(root)
    assert load_task("pets").info.classes == ("cat", "dog")
    assert load_task("./digits").info.classes == load_task(Path("digits")).info.classes == ("a", "b")


def test_the_home_folder(write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree({"cat": 3, "dog": 3})
    monkeypatch.setenv("HOME", str(root.parent))
    assert load_task("~/scans").info.name == "scans"


def test_a_table_and_the_same_folder_are_one_task(write_tree: WriteTree) -> None:
    folders = {f"{split}/{name}": 4 for split in ("train", "test") for name in ("cat", "dog")}
    root = write_tree(folders)
    tables = datasets.DatasetDict({split: as_table(root / split) for split in ("train", "test")})
    from_table, from_folder = load_task(tables).info, load_task(root).info
    assert from_table.name == "dataset"
    assert from_table.fingerprint == from_folder.fingerprint
    assert from_table.features == from_folder.features


def test_moving_a_folder_keeps_the_fingerprint(write_tree: WriteTree, tmp_path: Path) -> None:
    root = write_tree({"cat": 4, "dog": 4})
    before = load_task(root).info
    after = load_task(root.rename(tmp_path / "elsewhere")).info
    assert (before.fingerprint, after.name) == (after.fingerprint, "elsewhere")


def test_one_file_changes_the_fingerprint(write_tree: WriteTree, scans: NDArray[np.uint8]) -> None:
    root = write_tree({"cat": 4, "dog": 4})
    before = load_task(root).info.fingerprint
    Image.fromarray(scans[500]).save(root / "dog" / "3.png")
    assert load_task(root).info.fingerprint != before


def test_progress_and_skipping_reach_the_verification(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 6, "dog": 6})
    (root / "cat" / "2.jpg").write_bytes(b"damaged")
    with pytest.raises(TaskError, match=r"cat/2\.jpg is no image"):
        load_task(root)
    calls: list[tuple[int, int]] = []
    with pytest.warns(UserWarning, match=r"skipped 1 of 12 images: cat/2\.jpg") as caught:
        task = load_task(root, skip_bad=True, progress=lambda done, total: calls.append((done, total)))
    assert caught[0].filename == __file__
    assert calls[-1] == (12, 12)
    assert sum(task.info.sizes.values()) == 11


def test_a_class_of_damaged_images_is_missed_after_skipping(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 6, "dog": 3})
    (root / "dog" / "0.jpg").write_bytes(b"damaged")
    with pytest.warns(UserWarning), pytest.raises(TaskError, match=r"at least 3 images .* dog \(2\)"):
        load_task(root, skip_bad=True)


def test_counts_are_checked_before_images_are_decoded(write_tree: WriteTree) -> None:
    root = write_tree({"cat": 6, "dog": 1})
    (root / "cat" / "0.jpg").write_bytes(b"damaged")
    calls: list[int] = []
    with pytest.raises(TaskError, match=r"dog \(1\)"):
        load_task(root, progress=lambda done, total: calls.append(done))
    assert calls == []


def test_one_class(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="at least two classes, found only 'cat'"):
        load_task(write_tree({"cat": 6}))


def test_a_string_class_that_only_test_has(write_tree: WriteTree) -> None:
    table = as_table(write_tree({"cat": 3, "dog": 3}))
    text = table.remove_columns("label").add_column("label", ["cat", "dog"] * 3)
    other = table.remove_columns("label").add_column("label", ["cat", "emu"] * 3)
    with pytest.raises(TaskError, match="emu has none; found only in test"):
        load_task(datasets.DatasetDict(train=text, test=other))


@pytest.mark.parametrize(
    "text", ["./none", "/none/here", "a/b/c", "~/none", "none/", "C:\\none", "~nobody-here/x"]
)
def test_missing_folders(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        TaskError, match=r"does not exist\. Correct the path; a Hub dataset id reads like org/name"
    ):
        load_task(text)


def test_no_text_is_not_the_current_folder(write_tree: WriteTree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write_tree({"cat": 3, "dog": 3}))
    assert load_task(".").info.name == "scans"
    with pytest.raises(TaskError, match="an empty text"):
        load_task("")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(TaskError, match=r"data\.zip is a file"):
        load_task(tmp_path / "data.zip")


@pytest.mark.parametrize("option", ["image_column", "label_column", "revision"])
def test_options_that_do_not_apply(write_tree: WriteTree, option: str) -> None:
    root = write_tree({"cat": 3, "dog": 3})
    for dataset, what in [(root, "a folder"), ("digits", '"digits"'), (load_task("digits"), "a Task")]:
        with pytest.raises(TaskError, match=f"{option} cannot be used with {what}"):
            load_task(dataset, **{option: "x"})


def test_a_table_has_no_revision(write_tree: WriteTree) -> None:
    with pytest.raises(TaskError, match="revision cannot be used with a dataset in memory"):
        load_task(as_table(write_tree({"cat": 3, "dog": 3})), revision="main")


def test_two_revisions() -> None:
    with pytest.raises(TaskError, match="two revisions were given: @v1 and revision='v2'"):
        load_task("org/name@v1", revision="v2")


@pytest.mark.parametrize("name", ["nobody/nothing", "nothing", "nobody/nothing@v1.0"])
def test_without_connection_both_readings_are_told(name: str) -> None:
    script = (
        "import sys\n"
        "from fms_hub.errors import HubError\n"
        "from fms_hub.tasks.dataset import load_task\n"
        "try:\n    load_task(sys.argv[1])\nexcept HubError as error:\n    print(error)"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.startswith(
        f"{name.split('@')[0]!r} is no existing folder, so it was read as a Hub dataset id"
    )
    assert 'use "digits"' in done.stdout
    assert issubclass(HubError, OSError)
