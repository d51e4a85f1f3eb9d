"""The checkpoints that come with the package: ``bundled/index.json`` and one folder for each.

Layout, below ``fms_hub/models/bundled/``::

    index.json                    {"format_version": 1, "checkpoints": [one object per `BundledCheckpoint`]}
    test_resnet.mnist/            timm's local-dir layout, written by `fms_hub.models.zoo.export`
        config.json
        model.safetensors
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fms_hub.errors import CandidateError, CheckpointError
from fms_hub.models import folder

ROOT = Path(__file__).parent / "bundled"
INDEX = "index.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class BundledCheckpoint:
    """One bundled checkpoint and where it comes from.

    Attributes:
        name: the candidate's name, ``bundled/`` and the folder's name.
        architecture: timm architecture name.
        model_args: what timm's constructor was given beyond the number of classes.
        file: the weights, relative to the index.
        sha256: of that file.
        data: the source data set.
        licence: of that data.
        classes: classes it was trained on.
        image_size: pixels it was trained at.
        epochs: epochs it was trained for; 0 for a random initialisation.
        accuracy: on held-out images of its source data, in [0, 1].
        seed: of its training.
        command: what produced it.
        parameters: number of parameters.
    """

    name: str
    architecture: str
    model_args: dict[str, Any]
    file: str
    sha256: str
    data: str
    licence: str
    classes: int
    image_size: int
    epochs: int
    accuracy: float
    seed: int
    command: str
    parameters: int


def read_index(root: Path = ROOT) -> tuple[BundledCheckpoint, ...]:
    """All checkpoints that the index below `root` lists, in its order.

    Raises:
        CandidateError: there is no index, or it lists nothing.
        CheckpointError: the index is damaged or of another format version.
    """
    path = root / INDEX
    if not path.is_file():
        raise CandidateError(_nothing(f"{path} does not exist"))
    content = folder.read_json(path)
    if content.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {content.get('format_version')!r}; expected {FORMAT_VERSION}. "
            "Install the package again."
        )
    try:
        checkpoints = tuple(BundledCheckpoint(**item) for item in content["checkpoints"])
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Install the package again.") from error
    if not checkpoints:
        raise CandidateError(_nothing(f"{path} lists none"))
    return checkpoints


def entries(*roots: Path) -> dict[str, BundledCheckpoint]:
    """The checkpoints below all of these folders that have an index, by name; by default the bundled ones.

    Raises:
        CheckpointError: an index is damaged or of another format version.
    """
    there = [root for root in roots or (ROOT,) if (root / INDEX).is_file()]
    return {entry.name: entry for root in there for entry in read_index(root)}


def write_index(checkpoints: Iterable[BundledCheckpoint], root: Path = ROOT) -> None:
    """Write the index, sorted by name; the checkpoints' folders must stand below `root` already.

    Raises:
        CheckpointError: a file is absent, or differs from its sha256.
    """
    items = sorted(checkpoints, key=lambda item: item.name)
    for item in items:
        _verify(item, root)
    content = {"format_version": FORMAT_VERSION, "checkpoints": [dataclasses.asdict(item) for item in items]}
    draft = root / f"{INDEX}.draft"
    draft.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(root / INDEX)


def _verify(checkpoint: BundledCheckpoint, root: Path) -> None:
    file = root / checkpoint.file
    if not file.is_file():
        raise CheckpointError(
            f"{checkpoint.name}: {file} does not exist; write the checkpoint before its index."
        )
    found = folder.sha256(file)
    if found != checkpoint.sha256:
        raise CheckpointError(
            f"{checkpoint.name}: {file} has sha256 {found[:12]}, its entry says {checkpoint.sha256[:12]}. "
            "Hash the file after it is written."
        )


def _nothing(reason: str) -> str:
    return (
        f"there are no bundled checkpoints: {reason}. Name candidates yourself, e.g. 'timm/resnet18.a1_in1k'."
    )
