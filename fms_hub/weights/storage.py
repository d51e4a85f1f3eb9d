"""Weight graphs as files: one safetensors file each, the structure in its header."""

from __future__ import annotations

import base64
import os
import tempfile
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.sketch import SKETCH_VERSION, Sketch
from fms_hub.weights.structure import Structure

FORMAT_VERSION: Final = 2
"""Rises whenever a file changes its layout."""

_LARGEST: Final = 2**26
"""Bytes of JSON that a file may unpack to; the largest of timm's structures takes less than a hundredth."""

_VERSIONS: Final = {"format_version": str(FORMAT_VERSION), "sketch_version": str(SKETCH_VERSION)}


def write(
    path: Path, structure: Structure, table: Sketch | np.ndarray[tuple[int, ...], np.dtype[np.float16]]
) -> None:
    """Write a structure and its sketch (nodes, len(FEATURES)) next to `path`, then rename.

    Raises:
        StorageError: the file cannot be written; nothing is left behind.
    """
    content = save({"sketch": np.ascontiguousarray(table)}, {**_VERSIONS, "structure": pack(structure)})
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise StorageError(
            f"cannot write the weight graph {path}: {error}; check the folder and its free space."
        ) from error


def read(path: Path) -> tuple[Structure, Sketch]:
    """Read a structure and its sketch; half precision becomes float32.

    Raises:
        CheckpointError: no such file, damaged, of another version, or not a weight graph.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata, keys = file.metadata() or {}, list(file.keys())
            _check_header(path, metadata, keys)
            table = file.get_tensor("sketch")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"cannot read {path} as a weight graph: {error}; featurize the model again."
        ) from error
    structure = _unpacked(path, metadata["structure"])
    return structure, _checked(path, table, len(structure.nodes))


def pack(structure: Structure) -> str:
    """The structure as text for a header: its JSON, compressed."""
    return base64.b85encode(zlib.compress(structure.to_json().encode(), 9)).decode()


def _unpacked(path: Path, text: str) -> Structure:
    try:
        raw = zlib.decompressobj().decompress(base64.b85decode(text), _LARGEST).decode()
    except (zlib.error, ValueError) as error:
        raise CheckpointError(
            f"cannot read the structure in {path} ({error}); featurize the model again."
        ) from error
    return Structure.from_json(raw)


def _check_header(path: Path, metadata: dict[str, str], keys: list[str]) -> None:
    if keys != ["sketch"] or sorted(metadata) != sorted([*_VERSIONS, "structure"]):
        raise CheckpointError(
            f"expected a weight graph in {path}, found tensors {keys[:5]} and header {sorted(metadata)[:5]}."
        )
    for key, version in _VERSIONS.items():
        if metadata[key] != version:
            raise CheckpointError(
                f"expected {key} {version} in {path}, found {metadata[key]!r}; featurize the model again."
            )


def _checked(path: Path, table: Sketch, nodes: int) -> Sketch:
    expected = (nodes, len(FEATURES))
    if table.shape != expected or table.dtype not in (np.float16, np.float32, np.float64):
        raise CheckpointError(
            f"expected floats of shape {expected} in {path}, found {table.dtype} {table.shape}."
        )
    if not np.isfinite(table).all():
        raise CheckpointError(
            f"expected finite features in {path}, found NaN or infinity; featurize the model again."
        )
    return table.astype(np.float32) if table.dtype == np.float16 else table
