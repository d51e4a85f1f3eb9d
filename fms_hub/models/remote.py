"""Checkpoints on the Hugging Face Hub, brought to this disk at a pinned commit.

huggingface_hub is imported only when something is fetched, so that local checkpoints do without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fms_hub.errors import CandidateError
from fms_hub.models import folder


def fetch_config(repo: str, commit: str) -> Path:
    """Path of the repository's config.json.

    Raises:
        CandidateError: the repository has none.
        HubError: it could not be fetched.
    """
    from fms_hub.hub import client

    path = client.find(repo, commit, folder.CONFIG)
    if path is None:
        raise CandidateError(
            f"{repo} has no {folder.CONFIG}, so it is no checkpoint of timm or transformers."
        )
    return path


def fetch_weights(repo: str, commit: str) -> tuple[Path, ...]:
    """Paths of the repository's safetensors files, whole or in shards.

    Raises:
        CandidateError: it has only weights in other formats.
        HubError: a file could not be fetched.
    """
    from fms_hub.hub import client

    whole = client.find(repo, commit, folder.WEIGHTS)
    if whole is not None:
        return (whole,)
    index = client.find(repo, commit, folder.SHARDS)
    if index is None:
        raise folder.refuse_pickles(repo)
    names = folder.shard_names(folder.read_json(index), repo)
    root = client.fetch(repo, commit, names)
    return tuple(root / name for name in names)


def weight_sizes(repo: str, commit: str, sizes: Mapping[str, int]) -> dict[str, int]:
    """Bytes of the files that `fetch_weights` would fetch, by name; none where it would refuse.

    Args:
        repo, commit: of the checkpoint; of shards their list is fetched.
        sizes: of all files of the commit.

    Raises:
        CandidateError: the list of shards is unreadable.
        HubError: it could not be fetched.
    """
    if folder.WEIGHTS in sizes:
        return {folder.WEIGHTS: sizes[folder.WEIGHTS]}
    if folder.SHARDS not in sizes:
        return {}
    from fms_hub.hub import client

    index = client.fetch(repo, commit, [folder.SHARDS]) / folder.SHARDS
    return {name: sizes.get(name, 0) for name in folder.shard_names(folder.read_json(index), repo)}


def fetch_folder(repo: str, commit: str) -> Path:
    """A folder with the repository's config, weights and, where it has one, image preprocessing.

    Raises:
        CandidateError, HubError: as in `fetch_config` and `fetch_weights`.
    """
    fetch_config(repo, commit)
    fetch_weights(repo, commit)
    return fetch_description(repo, commit)


def fetch_description(repo: str, commit: str) -> Path:
    """A folder with the repository's config and, where it has one, image preprocessing.

    Raises:
        CandidateError, HubError: as in `fetch_config`.
    """
    from fms_hub.hub import client

    config = fetch_config(repo, commit)
    client.find(repo, commit, folder.PREPROCESSOR)
    return config.parent
