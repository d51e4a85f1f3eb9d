"""The door to huggingface_hub for readers: model files at a pinned commit.

`fms_hub.hub.pull_requests` is the one for data that people give back, `fms_hub.hub.refusals` says for both
what an error means; nothing else imports huggingface_hub. What may pass (timeouts, 429, 5xx) is tried again.

A revision is resolved once to a commit hash; every later call names that commit, so that nothing changes
under a search and a second run needs no network. ``HF_HUB_OFFLINE``, ``HF_ENDPOINT``, ``HF_HOME`` and the
user's login are honoured as huggingface_hub does; it reads them when it is first imported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from huggingface_hub import (
    HfApi,
    get_hf_file_metadata,
    get_session,
    hf_hub_url,
    hf_raise_for_status,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError, RemoteEntryNotFoundError
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from fms_hub.errors import HubError
from fms_hub.hub.refusals import TransportError, hub_errors, retried

_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME: Final = "fms_hub"
_VERSION: Final = version(_NAME)
_TRIES = 3
_PARTIAL_CONTENT = 206
_LICENCE: Final = "license:"


@dataclass(frozen=True)
class Facts:
    """What the Hub says of a model repository.

    Attributes:
        commit: that the revision stands for now, 40 hexadecimal digits.
        licence: as its card names it, or None.
        gated: whether its authors ask for consent before they give the files.
        sizes: bytes of its files by name, as far as the Hub tells them.
    """

    commit: str
    licence: str | None
    gated: bool
    sizes: Mapping[str, int]


def look_up(repo: str, revision: str | None = None) -> Facts:
    """What the Hub says now; never what it said before.

    Args:
        repo: ``"organisation/name"``.
        revision: branch, tag or commit hash; None is the default branch.

    Raises:
        HubError: the repository or revision does not exist or is closed to this user.
        Unreachable: the Hub cannot be reached.
    """
    with hub_errors(repo, revision):
        info = retried(lambda: api().model_info(repo, revision=revision, files_metadata=True))
    if info.sha is None:
        raise HubError(f"the Hub does not say which commit {repo} is at. Try again.")
    licences = [tag.removeprefix(_LICENCE) for tag in info.tags or () if tag.startswith(_LICENCE)]
    sizes = {file.rfilename: file.size for file in info.siblings or () if file.size is not None}
    return Facts(info.sha, next(iter(licences), None), bool(info.gated), sizes)


def tagged(tag: str) -> tuple[str, ...]:
    """Names of all model repositories with a tag, sorted.

    Raises:
        Unreachable: the Hub cannot be reached.
    """
    with hub_errors(tag):
        return tuple(sorted(info.id for info in retried(lambda: list(api().list_models(filter=tag)))))


def resolve_revision(repo: str, revision: str | None = None) -> str:
    """The commit hash that a branch, tag or abbreviated reference of a model repository stands for now.

    Args:
        repo: ``"organisation/name"``.
        revision: branch, tag or commit hash; None is the default branch.

    Returns:
        40 hexadecimal digits. Without network, what the reference stood for when it was last seen.

    Raises:
        HubError: the repository or revision does not exist or is closed to this user, or the Hub cannot be
            reached and nothing was kept.
    """
    with hub_errors(repo, revision):
        return retried(lambda: api().resolve_revision(repo, revision=revision).resolved)


def fetch(repo: str, commit: str, filenames: Iterable[str]) -> Path:
    """Make sure that files of a commit are on this disk.

    Args:
        repo: ``"organisation/name"``.
        commit: hash from `resolve_revision`.
        filenames: paths below the repository's root, all of them required.

    Returns:
        The folder that holds them under these names.

    Raises:
        HubError: as in `find`, or a file does not exist in the commit.
    """
    folder: Path | None = None
    for filename in filenames:
        path = find(repo, commit, filename)
        if path is None:
            raise HubError(
                f"{repo} has no file {filename!r} at commit {commit[:12]}. Check the name or revision."
            )
        folder = Path(str(path).removesuffix(filename))
    if folder is None:
        raise ValueError("fetch needs at least one file name; found none.")
    return folder


def find(repo: str, commit: str, filename: str) -> Path | None:
    """Path of one file of a commit on this disk, downloaded where it was absent; None if the commit lacks it.

    A download of a large file is checked against the sha256 that the Hub announced.

    Raises:
        HubError: the Hub refused or cannot be reached and the file was not kept, or the download is damaged.
    """
    with hub_errors(repo, commit):
        cached = try_to_load_from_cache(repo, filename, revision=commit)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None:  # the cache remembers that the commit has no such file
            return None
        try:
            path = Path(retried(lambda: api().hf_hub_download(repo, filename, revision=commit)))
        except RemoteEntryNotFoundError:
            return None
    verify_download(path, repo)
    return path


def is_kept(repo: str, commit: str, filename: str) -> bool:
    """Whether a file of a commit is on this disk, so that `find` needs no network."""
    with hub_errors(repo, commit):
        return isinstance(try_to_load_from_cache(repo, filename, revision=commit), str)


def remote_size(repo: str, commit: str, filename: str) -> int | None:
    """Bytes of one file of a commit, asked of the Hub without fetching it; None if the commit lacks it.

    Raises:
        HubError: the Hub refused or cannot be reached, or does not say.
    """
    with hub_errors(repo, commit):
        try:
            found = get_hf_file_metadata(
                hf_hub_url(repo, filename, revision=commit), library_name=_NAME, library_version=_VERSION
            )
        except RemoteEntryNotFoundError:
            return None
    if found.size is None:
        raise HubError(f"the Hub does not tell the size of {filename} in {repo}. Fetch the file instead.")
    return found.size


def read_range(repo: str, commit: str, filename: str, start: int, stop: int) -> bytearray:
    """The bytes from `start` up to `stop` of one file of a commit; nothing is left on this disk.

    A connection that breaks is tried again.

    Raises:
        HubError: the Hub refused or cannot be reached, lacks the file, or did not send this range.
    """
    with hub_errors(repo, commit):
        for _ in range(_TRIES - 1):
            try:
                return _read_range(repo, commit, filename, start, stop)
            except HfHubHTTPError:
                raise
            except TransportError:
                continue
        return _read_range(repo, commit, filename, start, stop)


def _read_range(repo: str, commit: str, filename: str, start: int, stop: int) -> bytearray:
    headers = {
        **build_hf_headers(library_name=_NAME, library_version=_VERSION),
        "Range": f"bytes={start}-{stop - 1}",
        "Accept-Encoding": "identity",
    }
    content, filled = bytearray(stop - start), 0
    with get_session().stream(
        "GET", hf_hub_url(repo, filename, revision=commit), headers=headers, follow_redirects=True
    ) as response:
        if response.is_error:
            response.read()
        hf_raise_for_status(response)
        if response.status_code == _PARTIAL_CONTENT:
            for chunk in response.iter_raw():
                content[filled : filled + len(chunk)] = chunk
                filled += len(chunk)
    if filled != stop - start:
        raise HubError(
            f"expected bytes {start} to {stop} of {filename} in {repo}, found {filled} bytes "
            f"(HTTP {response.status_code}). Fetch the file instead of streaming it."
        )
    return content


def api(*, anonymous: bool = False) -> HfApi:
    """huggingface_hub's client under our name, with the user's login unless it is to be anonymous."""
    return HfApi(library_name=_NAME, library_version=_VERSION, token=False if anonymous else None)


def verify_download(path: Path, repo: str) -> None:
    """Compare a fresh download with its blob's name: the sha256 for files in large-file storage.

    huggingface_hub itself compares only the size of a plain download.

    Raises:
        HubError: they differ; the file is removed.
    """
    blob = path.resolve()
    if not _SHA256.fullmatch(blob.name):
        return
    with blob.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != blob.name:
        path.unlink()
        blob.unlink(missing_ok=True)
        raise HubError(
            f"{path.name} of {repo} arrived damaged: expected sha256 {blob.name[:12]}, found {found[:12]}. "
            "It was removed; try again."
        )
