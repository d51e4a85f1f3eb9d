"""Candidates as they were published: under their own head, with or without their weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Final

from torch import nn

from fms_hub.errors import CandidateError
from fms_hub.models import folder, from_timm, opening, remote
from fms_hub.models.model import Model
from fms_hub.models.tensors import LocalTensors, RemoteTensors, Tensors
from fms_hub.records import Candidate
from fms_hub.seeding import seeded_on_cpu

_MODULE_SIZE: Final = 224
_WRAPPER: Final = "network."
"""How `fms_hub.models.from_transformers.Logits` calls what transformers' files hold."""


def architecture_key(candidate: Candidate, image_size: int | None = None) -> str:
    """sha256 that equal architectures share; needs config.json at most.

    Args:
        candidate: any but a user's own module.
        image_size: pixels; None means the candidate's own.

    Raises:
        CandidateError, HubError: the config cannot be had.
    """
    if _by_name(candidate):
        found: object = ["timm", version("timm"), _timm_name(candidate)]
    else:
        opened = opening.open_config(candidate)
        if opened.layout == "transformers":
            opening.require_transformers(candidate.name)
        found = [opened.layout, version(opened.layout), opened.config]
    text = json.dumps([found, image_size], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def skeleton(candidate: Candidate, image_size: int | None = None) -> Model:
    """A candidate's network on the meta device; its weights are neither fetched nor read.

    Args:
        candidate: any but a user's own module.
        image_size: pixels; None means the candidate's own.

    Raises:
        CandidateError: the config is unreadable, or its library does not know the architecture.
        HubError: the config could not be fetched.
    """
    if _by_name(candidate):
        return from_timm.skeleton(from_timm.origin_of_name(_timm_name(candidate)), candidate.name, image_size)
    opened = opening.open_config(candidate)
    if opened.layout == "timm":
        return from_timm.skeleton(from_timm.origin_of_folder(opened), candidate.name, image_size)
    built: Model = opening.transformers_door(candidate.name).skeleton(opened, image_size)
    return built


def load(candidate: Candidate, image_size: int | None = None, *, weights: bool = True) -> Model:
    """A candidate's network on the CPU, loaded by its library in the way that library knows.

    Args:
        candidate: any but a user's own module.
        image_size: pixels; None means the candidate's own.
        weights: False leaves it randomly initialised, as a scratch candidate always is, from seed 0.

    Raises:
        CandidateError: the weights are unreadable or do not fit.
        HubError: they could not be fetched.
    """
    weights = weights and candidate.source != "scratch"
    with seeded_on_cpu(0):
        if _by_name(candidate):
            origin = (
                opening.registered_origin(candidate, weights)
                if weights
                else from_timm.origin_of_name(_timm_name(candidate))
            )
            return from_timm.original(origin, candidate.name, image_size, weights=weights)
        opened = opening.open_checkpoint(candidate) if weights else opening.open_config(candidate)
        if opened.layout == "timm":
            origin = from_timm.origin_of_folder(opened)
            return from_timm.original(origin, candidate.name, image_size, weights=weights)
        door = opening.transformers_door(candidate.name)
        built: Model = door.original(opened, candidate.name, image_size, weights=weights)
        return built


def has_head(candidate: Candidate) -> bool:
    """Whether `load` would find a classification head in the candidate's files, which are fetched for it.

    timm's are loaded whole or not at all, so that only transformers' are looked at.

    Raises:
        CandidateError, HubError: as in `load`.
    """
    if candidate.source in ("scratch", "module"):
        return False
    if opening.is_registered(candidate):
        return True
    opened = opening.open_checkpoint(candidate)
    if opened.layout == "timm":
        return True
    return bool(opening.transformers_door(candidate.name).has_head(opened))


@contextmanager
def open_tensors(candidate: Candidate, *, device: str, stream: bool) -> Iterator[Tensors]:
    """The tensors in a candidate's files, to be read one by one.

    Args:
        candidate: one that has files.
        device: where they are read to.
        stream: read those of a Hub repository by ranges, leaving no file on this disk.

    Raises:
        CandidateError: a file is absent, truncated or damaged, or holds no safetensors.
        HubError: the Hub refused or cannot be reached.
    """
    if candidate.source == "folder":
        files = folder.open_folder(opening.open_config(candidate).path).files
    elif stream:
        yield RemoteTensors(*opening.pinned(candidate), device)
        return
    else:
        files = remote.fetch_weights(*opening.pinned(candidate))
        folder.require_safetensors(files)
    with LocalTensors(files, device) as tensors:
        yield tensors


def prefix(candidate: Candidate) -> str:
    """What the names of the built network's tensors begin with, and those in its files do not."""
    transformers = not _by_name(candidate) and opening.open_config(candidate).layout == "transformers"
    return _WRAPPER if transformers else ""


def module_input(module: nn.Module, image_size: int | None = None) -> tuple[int, int, int]:
    """Channels, height and width of the images of a user's own module: timm's say, others take RGB at 224.

    Args:
        module: the module.
        image_size: pixels; None means the module's own.
    """
    if isinstance(module, from_timm.TimmNetwork):
        spec = from_timm.input_spec(module, image_size)
        return len(spec.mean), spec.size, spec.size
    return 3, image_size or _MODULE_SIZE, image_size or _MODULE_SIZE


def require_unchanged(candidate: Candidate) -> None:
    """See that the weights in a folder are those that the candidate was resolved with.

    Raises:
        CandidateError: they are others by now.
    """
    if candidate.source != "folder":
        return
    opened = folder.open_folder(opening.open_config(candidate).path)
    if folder.fingerprint(opened) != candidate.fingerprint:
        raise CandidateError(
            f"{candidate.name}: the weights in {opened.path} are not those that were resolved "
            f"(expected sha256 {candidate.fingerprint[:12]}). Resolve the candidate again."
        )


def _by_name(candidate: Candidate) -> bool:
    """Whether timm knows the architecture by name alone, without a config.json."""
    return candidate.source == "scratch" or opening.is_registered(candidate)


def _timm_name(candidate: Candidate) -> str:
    return candidate.architecture if candidate.source == "scratch" else candidate.name.removeprefix("timm/")
