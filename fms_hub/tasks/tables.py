"""`datasets.Dataset`, `DatasetDict` and Hub datasets: the one door to `datasets`, imported only for these."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import HubError, TaskError
from fms_hub.tasks.images import EncodedImages
from fms_hub.tasks.splits import SPLITS, SplitName, listed, split_name
from fms_hub.tasks.verify import Found, FoundTask

_IMAGE_NAMES = ("image", "images", "img", "picture", "photo", "pixel_values", "jpg", "jpeg", "png", "webp")
_LABEL_NAMES = ("label", "labels", "class", "target", "category")
_IMAGE_TYPES = ("string", "large_string", "binary", "large_binary")
_LABEL_TYPES = (
    *("string", "large_string", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)


@dataclass(frozen=True)
class _Rows:
    """Encoded images in the only column of a table whose images are not decoded."""

    table: Any
    column: str
    split: str

    def read(self, i: int) -> bytes:
        cell = self.table[i][self.column]
        if cell is None:
            raise FileNotFoundError("the row holds no image")
        return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()

    def name(self, i: int) -> str:
        cell = self.table[i][self.column]
        path = f" ({Path(cell['path']).name})" if cell is not None and cell["path"] else ""
        return f"row {i} of {self.split}{path}"


def fetch(repository: str, revision: str | None) -> Any:
    """Load a dataset from the Hub or its local cache.

    Raises:
        TaskError: there is no such dataset or revision, or `datasets` cannot load it.
        HubError: the Hub cannot be reached.
    """
    named = repository if revision is None else f"{repository}@{revision}"
    reading = f"{repository!r} is no existing folder, so it was read as a Hub dataset id"
    try:
        return datasets.load_dataset(repository, revision=revision)
    except FileNotFoundError as error:
        raise TaskError(
            f"{reading}, but the Hub has no usable dataset {named} ({error}). Check the spelling, or give an "
            "existing folder of class folders."
        ) from error
    except (ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise TaskError(
            f"{reading}, but `datasets` cannot load {named} ({error}). Load it yourself with "
            "datasets.load_dataset and give the result."
        ) from error
    except OSError as error:
        raise HubError(
            f"{reading}, but the Hub could not be reached ({error}). Check the spelling if you meant a "
            'folder; else try again with a connection, give data on this machine, or use "digits".'
        ) from error


def read_table(dataset: object, *, image_column: str | None, label_column: str | None) -> FoundTask:
    """Find images and labels in a `datasets.Dataset` or `DatasetDict` without decoding any image.

    Raises:
        TaskError: another type; no train split; no or several columns that could be meant; labels that are
            missing, negative or of classes that train lacks.
    """
    tables = _tables(dataset)
    train = tables["train"]
    images = _image_column(train.features, image_column)
    labels = _label_column(train.features, label_column, images)
    for split, table in tables.items():
        _check_columns(split, table, train, (images, labels))
    values = {split: _labels(split, table, labels) for split, table in tables.items()}
    classes = _classes(train.features[labels], values)
    splits = {
        split: Found(_images(split, table, images), _indices(values[split], classes))
        for split, table in tables.items()
    }
    return FoundTask(
        train.info.dataset_name or "dataset", tuple(str(name) for name in classes.values()), splits
    )


def _tables(dataset: object) -> dict[SplitName, datasets.Dataset]:
    """Sort what was given into splits, all plain: no format, no transform."""
    if isinstance(dataset, datasets.Dataset):
        return {"train": dataset.with_format(None)}
    if not isinstance(dataset, datasets.DatasetDict):
        raise TaskError(
            "a dataset is a folder, a datasets.Dataset or DatasetDict (not a streaming one), a Hub dataset "
            f'id or "digits"; found {type(dataset).__name__}.'
        )
    if len(dataset) == 1 and split_name(only := next(iter(dataset))) is None:
        return {"train": dataset[only].with_format(None)}
    return _named_tables(dataset)


def _named_tables(dataset: Mapping[str, datasets.Dataset]) -> dict[SplitName, datasets.Dataset]:
    tables: dict[SplitName, datasets.Dataset] = {}
    for key, table in dataset.items():
        split = split_name(str(key))
        if split in tables:
            raise TaskError(
                f"the dataset holds the {split} split twice, among {listed(list(dataset))}. Drop one."
            )
        if split is not None:
            tables[split] = table.with_format(None)
    if "train" not in tables:
        raise TaskError(
            f"the dataset has no train split, found {listed(list(dataset))}. Give one of them alone."
        )
    strange = [str(key) for key in dataset if split_name(str(key)) is None]
    if strange:
        warnings.warn(
            f"passed over the splits {listed(strange)}; train, validation and test count.", stacklevel=2
        )
    return {split: tables[split] for split in SPLITS if split in tables}


def _image_column(features: Mapping[str, Any], asked: str | None) -> str:
    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    named = [name for name in _by_name(features, _IMAGE_NAMES) if _holds_images(features[name])]
    if asked is None:
        return _only(typed or named, "image", features)
    _check_asked(asked, "image", features)
    if not _holds_images(features[asked]):
        raise TaskError(
            f"the image column {asked!r} must hold images, encoded bytes or file paths, found "
            f"{features[asked]}. Cast it to datasets.Image() first."
        )
    return asked


def _label_column(features: Mapping[str, Any], asked: str | None, image_column: str) -> str:
    others = {name: feature for name, feature in features.items() if name != image_column}
    typed = [name for name, feature in others.items() if isinstance(feature, datasets.ClassLabel)]
    named = [name for name in _by_name(others, _LABEL_NAMES) if _holds_labels(others[name])]
    if asked is None:
        return _only(typed or named, "label", features)
    _check_asked(asked, "label", features)
    if not _holds_labels(features[asked]):
        raise TaskError(
            f"the label column {asked!r} must hold one class a row, as ClassLabel, text or integers; found "
            f"{features[asked]}."
        )
    return asked


def _by_name(features: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    return [name for name in features if name.lower() in names]


def _only(found: Sequence[str], kind: str, features: Mapping[str, Any]) -> str:
    if len(found) == 1:
        return found[0]
    columns = ", ".join(
        f"{name} ({getattr(feature, 'dtype', None) or type(feature).__name__})"
        for name, feature in features.items()
    )
    what = (
        f"several columns could be it: {listed(found)}" if found else f"none of the columns fits: {columns}"
    )
    raise TaskError(f"no {kind} column was named, and {what}. Name it: {kind}_column=....")


def _check_asked(asked: str, kind: str, features: Mapping[str, Any]) -> None:
    if asked not in features:
        raise TaskError(f"there is no {kind} column {asked!r}. The columns are {listed(list(features), 20)}.")


def _holds_images(feature: Any) -> bool:
    if isinstance(feature, datasets.Value):
        return feature.dtype in _IMAGE_TYPES
    encoded = isinstance(feature, dict) and set(feature) == {"bytes", "path"}
    return encoded or isinstance(feature, datasets.Image)


def _holds_labels(feature: Any) -> bool:
    if isinstance(feature, datasets.Value):
        return feature.dtype in _LABEL_TYPES
    return isinstance(feature, datasets.ClassLabel)


def _check_columns(
    split: SplitName, table: datasets.Dataset, train: datasets.Dataset, columns: Sequence[str]
) -> None:
    for column in columns:
        if column not in table.features:
            raise TaskError(
                f"train has the column {column!r}, but {split} has only {listed(list(table.features))}. "
                f"Rename its columns, or drop {split} to have it cut from train."
            )
    own, expected = (
        getattr(features[columns[1]], "names", None) for features in (table.features, train.features)
    )
    if own != expected:
        raise TaskError(
            f"every split needs the same classes, but {split} declares {listed(own or ['none'])} and train "
            f"{listed(expected or ['none'])}. Cast both to one ClassLabel."
        )


def _images(split: SplitName, table: datasets.Dataset, column: str) -> EncodedImages:
    encoded = table.select_columns([column]).cast_column(column, datasets.Image(decode=False))
    return EncodedImages(_Rows(encoded, column, split), np.arange(len(encoded)))


def _labels(split: SplitName, table: datasets.Dataset, column: str) -> list[str | int]:
    """Read a label column; hidden labels are None, empty or negative."""
    values: list[str | int] = list(table.select_columns([column])[:][column])
    missing = [
        row
        for row, value in enumerate(values)
        if value in (None, "") or (isinstance(value, int) and value < 0)
    ]
    if missing:
        cure = (
            "Leave these rows out"
            if split == "train"
            else f"Drop the {split} split to have it cut from train"
        )
        raise TaskError(
            f"{len(missing)} of {len(values)} labels in {split} are missing (None, empty or negative): rows "
            f"{listed([str(row) for row in missing])}. {cure}."
        )
    return values


def _classes(feature: Any, values: Mapping[SplitName, Sequence[str | int]]) -> dict[str | int, str]:
    """Name the classes that occur in any split, in the order of their values."""
    occurring: list[Any] = sorted({value for column in values.values() for value in column})
    if not isinstance(feature, datasets.ClassLabel):
        return {value: str(value) for value in occurring}
    unused = [name for i, name in enumerate(feature.names) if i not in occurring]
    if unused:
        warnings.warn(f"left out the declared classes without any image: {listed(unused)}.", stacklevel=2)
    return {value: feature.names[value] for value in occurring}


def _indices(values: Sequence[str | int], classes: Mapping[str | int, str]) -> NDArray[np.int64]:
    positions = {value: position for position, value in enumerate(classes)}
    return np.array([positions[value] for value in values], dtype=np.int64)
