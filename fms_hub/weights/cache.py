"""What was found out before, on this disk: structures by architecture, weight graphs by content.

Below ``FMS_HUB_CACHE``, or ``fms_hub`` in the platform's folder for caches::

    structures/KEY.json
    graphs/KEY.safetensors

Keys are hashes of all that the content follows from, so an entry never has to be renewed, and any may be
deleted at any time. An entry that is damaged is reported, and made again.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Final

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import SKETCH_VERSION
from fms_hub.weights.storage import FORMAT_VERSION
from fms_hub.weights.structure import Structure

VARIABLE: Final = "FMS_HUB_CACHE"


def root() -> Path:
    """The folder of all entries; it need not exist."""
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        platform = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        platform = "~/Library/Caches"
    else:
        platform = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(platform).expanduser() / "fms_hub"


def structure_path(architecture: str) -> Path:
    """Where the structure of an architecture is kept, for a key of it."""
    return root() / "structures" / f"{_key(str(FORMAT_VERSION), architecture)}.json"


def graph_path(architecture: str, weights: str, repo: str = "") -> Path:
    """Where the graph of a checkpoint is kept.

    Args:
        architecture: a key of it.
        weights: sha256 of the files, or the commit of a Hub repository.
        repo: the repository that the commit is of.
    """
    key = _key(str(FORMAT_VERSION), str(SKETCH_VERSION), architecture, weights, repo)
    return root() / "graphs" / f"{key}.safetensors"


def load_structure(path: Path) -> Structure | None:
    """What `save_structure` kept; None, with a warning where an entry is damaged, if there is nothing."""
    try:
        return Structure.from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError, CheckpointError) as error:
        _warn(path, error)
        return None


def load_graph(path: Path) -> WeightGraph | None:
    """What `save_graph` kept; None, with a warning where an entry is damaged, if there is nothing."""
    if not path.is_file():
        return None
    try:
        return WeightGraph.load(path)
    except CheckpointError as error:
        _warn(path, error)
        return None


def save_structure(path: Path, structure: Structure) -> None:
    """Keep a structure, whole or not at all.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            draft = Path(file.name)
            try:
                file.write(structure.to_json())
                file.flush()
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise _unwritable(path, error) from error


def save_graph(path: Path, graph: WeightGraph) -> None:
    """Keep a graph, whole or not at all, in the precision that it has.

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    graph.save(path)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _warn(path: Path, error: Exception) -> None:
    warnings.warn(f"the cache entry {path} is damaged and is made again ({error})", stacklevel=3)


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"cannot write the cache entry {path}: {error}. Set {VARIABLE} to a folder that can be written."
    )
