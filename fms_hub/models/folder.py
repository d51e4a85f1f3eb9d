"""A folder with one checkpoint: config.json and safetensors, as timm or transformers writes them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from fms_hub.errors import CandidateError

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SHARDS = "model.safetensors.index.json"
PREPROCESSOR = "preprocessor_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".tar")


@dataclass(frozen=True)
class CheckpointFolder:
    """A readable checkpoint folder.

    Attributes:
        path: the folder, absolute.
        layout: who wrote it.
        architecture: timm architecture name or transformers model type.
        config: what config.json holds.
        files: the safetensors files with the weights, in order.
    """

    path: Path
    layout: Literal["timm", "transformers"]
    architecture: str
    config: dict[str, Any]
    files: tuple[Path, ...]


def open_folder(path: Path) -> CheckpointFolder:
    """Read what a folder says of itself; the weights stay on disk.

    Raises:
        CandidateError: no such folder, an unreadable or unknown config.json, or no safetensors weights.
    """
    described = open_config(path)
    return dataclasses.replace(described, files=_weight_files(described.path))


def open_config(path: Path) -> CheckpointFolder:
    """Read only what a folder's config.json says; it need not hold weights, and none are listed.

    Raises:
        CandidateError: no such folder, or an unreadable or unknown config.json.
    """
    path = path.expanduser().absolute()
    if not path.is_dir():
        raise CandidateError(f"there is no folder {path}. Give a folder with {CONFIG} and {WEIGHTS}.")
    config = read_json(path / CONFIG)
    layout, architecture = identify(config, str(path))
    return CheckpointFolder(path, layout, architecture, config, ())


def identify(config: dict[str, Any], where: str) -> tuple[Literal["timm", "transformers"], str]:
    """Which library wrote a config.json, and for which architecture.

    Raises:
        CandidateError: neither timm nor transformers.
    """
    if isinstance(config.get("model_type"), str):
        return "transformers", config["model_type"]
    if isinstance(config.get("architecture"), str):
        return "timm", config["architecture"]
    raise CandidateError(
        f"{CONFIG} of {where} names neither 'architecture' (timm) nor 'model_type' (transformers); "
        f"found the keys {sorted(config)[:8]}. Only checkpoints of these two libraries can be opened."
    )


def fingerprint(folder: CheckpointFolder) -> str:
    """sha256 of the weights: of the one file, or of the shards' digests in order."""
    digests = [sha256(file) for file in folder.files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def sha256(file: Path) -> str:
    """Hexadecimal sha256 of a file."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CandidateError: the file is absent or holds no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CandidateError(f"{path.parent} has no {path.name}; a checkpoint folder needs one.") from error
    except (OSError, ValueError) as error:
        raise CandidateError(f"{path} is not readable JSON: {error}.") from error
    if not isinstance(content, dict):
        raise CandidateError(f"{path} must hold a JSON object; found {type(content).__name__}.")
    return content


def require_safetensors(files: Iterable[Path]) -> None:
    """See that each file has a sound safetensors header, whose sizes are those of the file.

    Raises:
        CandidateError: one has not.
    """
    for file in files:
        try:
            with safe_open(file, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise CandidateError(
                f"{file} is no readable safetensors file: {error}. Fetch it again."
            ) from error


def shard_names(index: dict[str, Any], where: str) -> tuple[str, ...]:
    """Names of the shards that a model.safetensors.index.json lists, each a plain file name.

    Raises:
        CandidateError: the index lists none, or a name that leads elsewhere.
    """
    weight_map = index.get("weight_map")
    names = sorted(set(weight_map.values())) if isinstance(weight_map, dict) else []
    if not names or any(Path(n).name != n or not n.endswith(".safetensors") for n in names):
        raise CandidateError(f"{SHARDS} of {where} must list safetensors files beside it; found {names[:4]}.")
    return tuple(names)


def refuse_pickles(where: str, found: Iterable[str] = ()) -> CandidateError:
    """The error for a checkpoint without safetensors, naming what is there instead."""
    pickles = ", ".join(sorted(found)) or "none"
    return CandidateError(
        f"{where} has no {WEIGHTS} (weights in other formats: {pickles}). Pickled weights are never opened, "
        "because unpickling runs whatever code their author put in. If you trust them, open them once in the "
        "library that wrote them and save them again, `model.save_pretrained(FOLDER)` in transformers or "
        "`timm.models.save_for_hf(model, FOLDER, safe_serialization=True)` in timm; give local-dir:FOLDER."
    )


def _weight_files(path: Path) -> tuple[Path, ...]:
    if (path / WEIGHTS).is_file():
        files: tuple[Path, ...] = (path / WEIGHTS,)
    elif (path / SHARDS).is_file():
        files = tuple(path / name for name in shard_names(read_json(path / SHARDS), str(path)))
        absent = [file.name for file in files if not file.is_file()]
        if absent:
            raise CandidateError(f"{path} lacks the shards {absent[:4]} that its {SHARDS} lists.")
    else:
        raise refuse_pickles(str(path), (f.name for f in path.iterdir() if f.suffix in _PICKLES))
    require_safetensors(files)
    return files
