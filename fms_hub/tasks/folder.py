"""A folder of class folders, with or without train, validation and test folders above them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fms_hub.errors import TaskError
from fms_hub.tasks.images import EncodedImages, Files
from fms_hub.tasks.splits import SPLITS, SplitName, listed, split_name
from fms_hub.tasks.verify import Found, FoundTask

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".jp2", ".avif"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
        # Images that cannot be decoded here: verification names them instead of leaving them out silently.
        *(".heic", ".heif", ".jxl", ".svg", ".psd", ".tga", ".dcm"),
    )
)

_LAYOUT = "Expected one folder per class, or train, val and test folders holding those"


def read_folder(root: Path) -> FoundTask:
    """List the images of a dataset folder without opening any.

    Hidden entries, ``__MACOSX`` and files that are no images are passed over; so are images beside the class
    folders and folders beside the split folders, with a warning.

    Args:
        root: an existing folder.

    Raises:
        TaskError: no images; images without class folders; nested or empty class folders; a split twice;
            splits without train; class folders that differ between splits.
    """
    folders = _split_folders(root) or {"train": root}
    if "train" not in folders:
        raise TaskError(
            f"{root} holds {' and '.join(folders)} but no train folder. "
            "Add one, or give the class folders alone."
        )
    listings = {split: _class_files(folder, root) for split, folder in folders.items()}
    classes = tuple(listings["train"])
    for split, listing in listings.items():
        _check_agreement(split, classes, tuple(listing))
    splits = {split: _found(root, list(listing.values())) for split, listing in listings.items()}
    return FoundTask(root.resolve().name, classes, splits)


def _split_folders(root: Path) -> dict[SplitName, Path]:
    """Find the split folders; a folder called `train` with images directly in it is a class of trains."""
    folders: dict[SplitName, Path] = {}
    others = []
    for folder in _folders(root):
        split = split_name(folder.name)
        if split is None or not any(_holds_images(inner) for inner in _folders(folder)):
            others.append(folder)
        elif split in folders:
            raise TaskError(
                f"{root} holds the {split} split twice: {folders[split].name} and {folder.name}. "
                "Merge or rename one."
            )
        else:
            folders[split] = folder
    strange = [
        folder.name for folder in others if _holds_images(folder) or any(map(_holds_images, _folders(folder)))
    ]
    if folders and strange:
        warnings.warn(
            f"{root} has split folders; passed over the folders beside them: {listed(strange)}.", stacklevel=2
        )
    return {split: folders[split] for split in SPLITS if split in folders}


def _class_files(folder: Path, root: Path) -> dict[str, list[str]]:
    """Map each class folder's name to its images' paths relative to `root`."""
    listing: dict[str, list[str]] = {}
    for class_folder in _folders(folder):
        _check_flat(class_folder)
        listing[class_folder.name] = [path.relative_to(root).as_posix() for path in _images(class_folder)]
    if not any(listing.values()):
        raise TaskError(f"{folder} {_what_instead(folder)}. {_LAYOUT}.")
    empty = [name for name, files in listing.items() if not files]
    if empty:
        raise TaskError(
            f"the folders {listed(empty)} in {folder} hold no images. Every folder is a class: "
            "fill or remove them."
        )
    if loose := _images(folder):
        warnings.warn(
            f"passed over {len(loose)} images directly in {folder}; they belong to no class.", stacklevel=2
        )
    return listing


def _what_instead(folder: Path) -> str:
    if loose := _images(folder):
        return f"holds {len(loose)} images directly, without class folders"
    files = [path for path in folder.rglob("*") if path.is_file()]
    if not files:
        return "is empty"
    suffixes = sorted({path.suffix or path.name for path in files})
    return f"holds no images among its {len(files)} files ({listed(suffixes)})"


def _check_flat(class_folder: Path) -> None:
    nested = [folder.name for folder in _folders(class_folder) if any(map(_is_image, folder.rglob("*")))]
    if nested:
        raise TaskError(
            f"the class folder {class_folder} holds further folders of images: {listed(nested)}. "
            "Put the images of a class directly into its folder, or give the folder whose sub-folders are "
            "the classes."
        )


def _check_agreement(split: SplitName, expected: Sequence[str], found: Sequence[str]) -> None:
    extra = [name for name in found if name not in expected]
    missing = [name for name in expected if name not in found]
    if extra or missing:
        parts = [f"has {listed(extra)} that train lacks"] if extra else []
        parts += [f"lacks {listed(missing)} of train"] if missing else []
        raise TaskError(
            f"every split needs the same class folders, but {split} {' and '.join(parts)}. "
            f"Add or rename folders, or remove the {split} folder to have it cut from train."
        )


def _found(root: Path, files: Sequence[Sequence[str]]) -> Found:
    names = tuple(name for of_class in files for name in of_class)
    labels = np.repeat(np.arange(len(files), dtype=np.int64), [len(of_class) for of_class in files])
    return Found(EncodedImages(Files(root, names), np.arange(len(names))), labels)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _images(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if _is_image(path)]


def _holds_images(folder: Path) -> bool:
    return any(map(_is_image, _visible(folder)))


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def _is_image(path: Path) -> bool:
    hidden = path.name.startswith(".")  # macOS leaves ._image.jpg beside image.jpg
    return not hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
