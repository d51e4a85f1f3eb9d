"""`datasets` tables: splits, columns and labels are found, or refused by name."""

from __future__ import annotations

import datetime
import io
import warnings
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fms_hub.errors import TaskError
from fms_hub.tasks.tables import fetch, read_table
from fms_hub.tasks.verify import FoundTask


def read(dataset: object, image_column: str | None = None, label_column: str | None = None) -> FoundTask:
    return read_table(dataset, image_column=image_column, label_column=label_column)


@pytest.fixture
def files(tmp_path: Path, scans: NDArray[np.uint8]) -> list[str]:
    """Paths of twelve scans."""
    paths = [tmp_path / f"scan{i}.png" for i in range(12)]
    for path, scan in zip(paths, scans, strict=False):
        Image.fromarray(scan).save(path)
    return [str(path) for path in paths]


@pytest.fixture
def table(files: list[str]) -> datasets.Dataset:
    """Twelve scans in an Image column, labels 0, 1, 2 in a ClassLabel column."""
    rows = {"image": files, "label": [i % 3 for i in range(12)]}
    return (
        datasets.Dataset.from_dict(rows)
        .cast_column("image", datasets.Image())
        .cast_column("label", datasets.ClassLabel(names=["ant", "bee", "fly"]))
    )


def with_column(
    table: datasets.Dataset, name: str, values: list[Any], feature: Any = None
) -> datasets.Dataset:
    wider = table.add_column(name, values)
    return wider if feature is None else wider.cast_column(name, feature)


def test_typed_columns_are_found(table: datasets.Dataset, scans: NDArray[np.uint8]) -> None:
    found = read(table)
    assert found.classes == ("ant", "bee", "fly")
    assert list(found.splits) == ["train"]
    train = found.splits["train"]
    assert train.labels.tolist() == [0, 1, 2] * 4
    assert train.labels.dtype == np.int64
    assert np.array_equal(np.asarray(train.images[5])[..., 0], scans[5])
    assert train.images.name(5) == "row 5 of train (scan5.png)"


def test_types_win_over_names(table: datasets.Dataset, files: list[str]) -> None:
    renamed = table.rename_columns({"image": "scan", "label": "insect"})
    renamed = with_column(with_column(renamed, "img", files), "target", ["x"] * 12)
    assert read(renamed).classes == ("ant", "bee", "fly")


def test_names_are_found_without_types(files: list[str], scans: NDArray[np.uint8]) -> None:
    rows = {"Img": files, "Category": ["b", "a"] * 6, "size": [8] * 12}
    found = read(datasets.Dataset.from_dict(rows))
    assert found.classes == ("a", "b")
    assert found.splits["train"].labels.tolist() == [1, 0] * 6
    assert np.array_equal(np.asarray(found.splits["train"].images[3])[..., 0], scans[3])


@pytest.mark.parametrize("wrap", [lambda data: data, lambda data: {"bytes": data, "path": "a.png"}])
def test_encoded_bytes(wrap, scans: NDArray[np.uint8]) -> None:
    cells = []
    for scan in scans[:4]:
        buffer = io.BytesIO()
        Image.fromarray(scan).save(buffer, "PNG")
        cells.append(wrap(buffer.getvalue()))
    found = read(datasets.Dataset.from_dict({"image": cells, "label": ["a", "b"] * 2}))
    assert np.array_equal(np.asarray(found.splits["train"].images[2])[..., 0], scans[2])


def test_pictures_in_memory(scans: NDArray[np.uint8]) -> None:
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    rows = {"image": [Image.fromarray(scan) for scan in scans[:4]], "label": [7, 3, 7, 3]}
    found = read(datasets.Dataset.from_dict(rows, features=features))
    assert found.classes == ("3", "7")
    assert found.splits["train"].labels.tolist() == [1, 0, 1, 0]
    assert np.array_equal(np.asarray(found.splits["train"].images[2])[..., 0], scans[2])


def test_named_columns(table: datasets.Dataset) -> None:
    wide = with_column(table, "colour", ["red", "blue"] * 6)
    assert read(wide, label_column="colour").classes == ("blue", "red")
    wide = wide.rename_column("image", "scan")
    assert read(wide, image_column="scan", label_column="label").classes == ("ant", "bee", "fly")


def test_formats_and_transforms_are_put_aside(table: datasets.Dataset) -> None:
    table.set_transform(
        lambda rows: {"image": [None] * len(rows["image"]), "label": [0] * len(rows["image"])}
    )
    found = read(table)
    assert found.splits["train"].labels.tolist() == [0, 1, 2] * 4
    assert found.splits["train"].images[0].size == (8, 8)


def test_selected_and_shuffled_rows(table: datasets.Dataset, scans: NDArray[np.uint8]) -> None:
    train = read(table.select([4, 2, 0])).splits["train"]
    assert train.labels.tolist() == [1, 2, 0]
    assert np.array_equal(np.asarray(train.images[0])[..., 0], scans[4])


def test_no_image_column(table: datasets.Dataset) -> None:
    message = r"no image column .* none of the columns fits: pixels \(int64\), label \(int64\)\. Name it"
    with pytest.raises(TaskError, match=message):
        read(
            with_column(table.remove_columns("image"), "pixels", [1] * 12).select_columns(["pixels", "label"])
        )


def test_no_label_column(table: datasets.Dataset) -> None:
    with pytest.raises(
        TaskError, match=r"no label column was named, .* image \(.*\)\. Name it: label_column="
    ):
        read(table.remove_columns("label"))


def test_ambiguous_columns_are_named(table: datasets.Dataset, files: list[str]) -> None:
    two_images = with_column(table, "mask", files, datasets.Image())
    with pytest.raises(TaskError, match="several columns could be it: image, mask"):
        read(two_images)
    assert read(two_images, image_column="mask").classes == ("ant", "bee", "fly")
    two_labels = with_column(table, "coarse", [0, 1] * 6, datasets.ClassLabel(names=["small", "large"]))
    with pytest.raises(TaskError, match="several columns could be it: label, coarse"):
        read(two_labels)
    assert read(two_labels, label_column="coarse").classes == ("small", "large")


def test_columns_that_do_not_exist_or_fit(table: datasets.Dataset) -> None:
    with pytest.raises(TaskError, match=r"no image column 'photo'. The columns are image, label"):
        read(table, image_column="photo")
    with pytest.raises(TaskError, match="no label column 'kind'"):
        read(table, label_column="kind")
    with pytest.raises(TaskError, match="the image column 'label' must hold images"):
        read(table, image_column="label")
    with pytest.raises(TaskError, match="the label column 'when' must hold one class a row"):
        read(with_column(table, "when", [datetime.date(2024, 1, 1)] * 12), label_column="when")


@pytest.mark.parametrize("values", [["a", None, "b"] * 4, ["a", "", "b"] * 4, [0, -1, 1] * 4])
def test_labels_that_are_missing(table: datasets.Dataset, values: list[Any]) -> None:
    bad = with_column(table.remove_columns("label"), "label", values)
    with pytest.raises(TaskError, match=r"4 of 12 labels in train are missing .* rows 1, 4, 7, 10\. Leave"):
        read(bad)


def test_hidden_test_labels(table: datasets.Dataset) -> None:
    hidden = table.remove_columns("label").add_column("label", [-1] * 12).cast(table.features)
    with pytest.raises(TaskError, match=r"12 of 12 labels in test are missing .* Drop the test split"):
        read(datasets.DatasetDict(train=table, test=hidden))


def test_test_without_label_column(table: datasets.Dataset) -> None:
    with pytest.raises(TaskError, match=r"train has the column 'label', but test has only image"):
        read(datasets.DatasetDict(train=table, test=table.remove_columns("label")))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["test", "train", "validation"], ["train", "validation", "test"]),
        (["train", "val"], ["train", "validation"]),
        (["data"], ["train"]),
    ],
)
def test_splits_of_a_dict(table: datasets.Dataset, names: list[str], splits: list[str]) -> None:
    assert list(read(datasets.DatasetDict(dict.fromkeys(names, table))).splits) == splits


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["test"], "no train split, found test"),
        (["left", "right"], "no train split, found left, right"),
        (["train", "val", "valid"], "the validation split twice, among train, val, valid"),
    ],
)
def test_splits_that_cannot_work(table: datasets.Dataset, names: list[str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read(datasets.DatasetDict(dict.fromkeys(names, table)))


def test_further_splits_are_mentioned(table: datasets.Dataset) -> None:
    with pytest.warns(UserWarning, match="passed over the splits extra;"):
        read(datasets.DatasetDict(train=table, extra=table))


def test_class_lists_must_agree(table: datasets.Dataset) -> None:
    other = table.cast_column("label", datasets.ClassLabel(names=["bee", "ant", "fly"]))
    with pytest.raises(TaskError, match="test declares bee, ant, fly and train ant, bee, fly"):
        read(datasets.DatasetDict(train=table, test=other))


def test_declared_classes_without_images_are_left_out(table: datasets.Dataset) -> None:
    some = table.filter(lambda row: row["label"] != 1)
    with pytest.warns(UserWarning, match=r"left out the declared classes without any image: bee\."):
        found = read(some)
    assert found.classes == ("ant", "fly")
    assert found.splits["train"].labels.tolist() == [0, 1] * 4


def test_rows_without_an_image_are_named(table: datasets.Dataset, files: list[str]) -> None:
    cells = [None, *files[1:]]
    images = (
        read(datasets.Dataset.from_dict({"image": cells, "label": ["a", "b"] * 6})).splits["train"].images
    )
    assert images.name(0) == "row 0 of train"
    with pytest.raises(TaskError, match="the image row 0 of train cannot be read"):
        images[0]


@pytest.mark.parametrize("thing", [None, 5, [1, 2], {"train": []}])
def test_other_things_are_refused(thing: object) -> None:
    with pytest.raises(TaskError, match=f"found {type(thing).__name__}"):
        read(thing)


def test_streams_are_refused(table: datasets.Dataset) -> None:
    with pytest.raises(TaskError, match="found IterableDataset"):
        read(table.to_iterable_dataset())


def test_nothing_warns_without_cause(table: datasets.Dataset) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(datasets.DatasetDict(train=table, test=table))


def test_what_datasets_loads_can_be_read(
    tmp_path: Path, scans: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for i in range(12):
        folder = tmp_path / "scans" / ("test" if i < 4 else "train") / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(scans[i]).save(folder / f"{i}.png")
    found = read(fetch(str(tmp_path / "scans"), None))
    assert found.classes == ("cat", "dog")
    assert {split: len(part.labels) for split, part in found.splits.items()} == {"train": 8, "test": 4}
    shown = sorted(np.asarray(image)[..., 0].tobytes() for image in found.splits["test"].images)
    assert shown == sorted(scan.tobytes() for scan in scans[:4])


def test_what_datasets_cannot_load_is_a_task_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        TaskError, match=r"read as a Hub dataset id, but the Hub has no usable dataset .*empty@v2"
    ):
        fetch(str(tmp_path / "empty"), "v2")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"no parquet")
    with pytest.raises(TaskError, match=r"`datasets` cannot load .*broken .* Load it yourself"):
        fetch(str(tmp_path / "broken"), None)
