"""Where the parts of a candidate lie, and which library opens them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from fms_hub.errors import CandidateError
from fms_hub.models import folder, from_timm, remote
from fms_hub.records import Candidate


def is_registered(candidate: Candidate) -> bool:
    """Whether the candidate is an entry of timm's own list, whose weights may lie in any layout."""
    if candidate.source != "timm":
        return False
    entry = from_timm.checkpoint(candidate.name.removeprefix("timm/"))
    return entry is not None and entry.repo == candidate.location


def registered_origin(candidate: Candidate, weights: bool) -> from_timm.Origin:
    """Origin of an entry of timm's list, with its weights on this disk where they are asked for.

    Raises:
        CandidateError: the weights are unreadable.
        HubError: they could not be fetched.
    """
    name = candidate.name.removeprefix("timm/")
    if not weights or candidate.location is None or candidate.revision is None:
        return from_timm.origin_of_name(name)
    (file,) = files = remote.fetch_weights(candidate.location, candidate.revision)
    folder.require_safetensors(files)
    return from_timm.origin_of_name(name, file)


def open_checkpoint(candidate: Candidate) -> folder.CheckpointFolder:
    """The candidate's checkpoint folder on this disk; a Hub repository is fetched first.

    Raises:
        CandidateError: the folder cannot be used, or the candidate is not pinned.
        HubError: the repository could not be fetched.
    """
    if candidate.source == "folder":
        return folder.open_folder(Path(location(candidate)))
    return folder.open_folder(remote.fetch_folder(*pinned(candidate)))


def open_config(candidate: Candidate) -> folder.CheckpointFolder:
    """What the candidate's config.json says; of a Hub repository nothing else is fetched but preprocessing.

    Raises:
        CandidateError, HubError: as in `open_checkpoint`, but for the weights.
    """
    if candidate.source == "folder":
        return folder.open_config(Path(location(candidate)))
    return folder.open_config(remote.fetch_description(*pinned(candidate)))


def location(candidate: Candidate) -> str:
    """Folder or repository of a candidate that has one.

    Raises:
        CandidateError: it has none.
    """
    if candidate.location is None:
        raise CandidateError(
            f"{candidate.name}: a candidate of source {candidate.source!r} needs a location."
        )
    return candidate.location


def pinned(candidate: Candidate) -> tuple[str, str]:
    """Repository and commit of a candidate on the Hub.

    Raises:
        CandidateError: it has none.
    """
    if candidate.revision is None:
        raise CandidateError(
            f"{candidate.name} is not pinned to a commit; use fms_hub.models.catalog.resolve."
        )
    return location(candidate), candidate.revision


def transformers_door(name: str) -> ModuleType:
    """`fms_hub.models.from_transformers`, for the candidate of this name.

    Raises:
        CandidateError: transformers is not installed.
    """
    require_transformers(name)
    return import_module("fms_hub.models.from_transformers")


def require_transformers(name: str) -> None:
    """See that transformers is installed, without importing it.

    Raises:
        CandidateError: it is not.
    """
    if find_spec("transformers") is None:
        raise CandidateError(
            f"{name} is a transformers checkpoint, and transformers is not installed. "
            "Install it with `pip install fms_hub[transformers]`."
        )
