"""Where a surrogate's file lies: with the package, on this disk, or in a repository of the Hub.

A surrogate's folder or repository holds::

    surrogate.safetensors     all of it (`fms_hub.surrogate.storage`)
    config.json               the same header for people; nothing reads it back
    README.md                 its card
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fms_hub.errors import CheckpointError, HubError, Tampered, UsageError
from fms_hub.surrogate import pins
from fms_hub.surrogate.pins import Pin

FILE_NAME: Final = "surrogate.safetensors"
TAG: Final = "fms-hub-surrogate"
"""What repositories of surrogates are found by on the Hub."""
BUNDLED: Final = "bundled"
BUNDLED_FOLDER: Final = Path(__file__).parent / "bundled"
_REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Source:
    """Where a surrogate was read from.

    Attributes:
        sha256: of the file.
        repo, commit: of the Hub; None for a file of this disk.
    """

    sha256: str
    repo: str | None = None
    commit: str | None = None

    def __str__(self) -> str:
        place = "" if self.repo is None else f"{self.repo}@{self.commit} "
        return f"{place}sha256:{self.sha256}"


@dataclass(frozen=True)
class Located:
    """A surrogate's file on this disk, its digest compared with what is known of it.

    Attributes:
        path: of the file.
        source: what it is.
        name: that is to be pinned to it (`pin`); None for a file of this disk.
    """

    path: Path
    source: Source
    name: str | None = None

    def pin(self) -> None:
        """Let its name stand for this file from now on; call it once the file is known to be sound.

        Raises:
            StorageError: the user's lock cannot be written.
        """
        if self.name is not None and self.source.commit is not None:
            pins.keep(self.name, Pin(self.source.commit, self.source.sha256))


def has_bundled() -> bool:
    """Whether a surrogate comes with this package."""
    return (BUNDLED_FOLDER / FILE_NAME).is_file()


def locate(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    sha256: str | None = None,
    update: bool = False,
) -> Located:
    """Find the file of a surrogate, download it where it is on the Hub, and compare its digest.

    Args:
        name: ``"bundled"``, ``"organisation/name"``, ``"organisation/name@revision"``, a folder or a file.
            What exists on this disk is a folder or a file.
        revision: branch, tag or commit of a repository.
        sha256: that the file must have.
        update: ask the Hub what the name stands for now, instead of taking the file that it is pinned to.

    Raises:
        UsageError: the name, or what was given with it, is none of these.
        CheckpointError: there is no such file on this disk.
        HubError: the repository or revision does not exist, is closed to this user, or is no surrogate's.
        Unreachable: the Hub cannot be reached.
        Tampered: the file has another sha256 than was asked for or pinned.
    """
    text = os.fspath(name)
    repo, _, at = text.partition("@")
    local = not isinstance(name, str) or text == BUNDLED or Path(text).exists()
    if not local and _REPO.fullmatch(repo) and not text.endswith(".safetensors"):
        if at and revision:
            raise UsageError(f"the revision of {repo} is given twice, as {at!r} and {revision!r}.")
        return _from_hub(repo, at or revision, sha256, update)
    if revision is not None:
        raise UsageError(f"{text} is no repository of the Hub, so it has no revision {revision!r}.")
    path = _local_file(text)
    found = Source(_digest(path))
    if sha256 not in (None, found.sha256):
        raise Tampered(
            f"{path} has sha256 {found.sha256}, expected {sha256}. It was not used; get the file again."
        )
    return Located(path, found)


def _local_file(text: str) -> Path:
    if text == BUNDLED:
        if not has_bundled():
            raise UsageError(
                "no surrogate comes with this release; name one of the Hub ('organisation/name'), a folder "
                "or a file, or 'scratch' for a search that learns from itself alone."
            )
        return BUNDLED_FOLDER / FILE_NAME
    path = Path(text).expanduser()
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        what = f"has no {FILE_NAME}" if path.is_dir() else "does not exist"
        raise CheckpointError(
            f"{text} {what}; a surrogate is 'bundled', 'organisation/name[@revision]' on the Hub, or a "
            "folder or file of one."
        )
    return file


def _from_hub(repo: str, revision: str | None, sha256: str | None, update: bool) -> Located:
    from fms_hub.hub import client

    name = repo if revision is None else f"{repo}@{revision}"
    pin = None if update else pins.pin_of(name)
    if pin is not None:
        commit = pin.commit
    elif update:
        commit = client.look_up(repo, revision).commit
    else:
        commit = client.resolve_revision(repo, revision)
    path = client.find(repo, commit, FILE_NAME)
    if path is None:
        raise HubError(
            f"{repo} has no {FILE_NAME} at commit {commit[:12]}, so it is no surrogate's repository. Check "
            "the name or revision."
        )
    found = Source(_digest(path), repo, commit)
    wanted = pins.digests(repo, commit) | ({sha256} if sha256 is not None else set())
    if wanted - {found.sha256}:
        client.verify_download(path, repo)  # a file that was damaged on this disk is removed and named so
        raise Tampered(
            f"{FILE_NAME} of {repo} at commit {commit[:12]} has sha256 {found.sha256}, expected "
            f"{' and '.join(sorted(wanted))}. It was not used. Ask its authors which is right; "
            f"`fms-hub surrogate pull {name}` asks the Hub for its newest."
        )
    return Located(path, found, name)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}). Check its permissions.") from error
