"""Contributions on this disk: written before anything is offered, kept until the Hub has them.

Below the cache's folder (`fms_hub.weights.cache.root`)::

    outbox/ID/files/...      the contribution, exactly what is sent
    outbox/ID/state.json     {"format_version": 1, "waiting": [REPO, ...], "sent": {REPO: address}}

ID is a hash of the files, so that the same rows are the same contribution.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from filelock import FileLock

from fms_hub.corpus import manifest
from fms_hub.corpus.schema import Fault
from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights import cache

FORMAT_VERSION: Final = 1
_FILES: Final = "files"
_STATE: Final = "state.json"


@dataclass(frozen=True)
class State:
    """Where a contribution is to go, and where it is.

    Attributes:
        waiting: repositories that it could not be sent to yet.
        sent: address of the pull request, by repository.
    """

    waiting: tuple[str, ...] = ()
    sent: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parcel:
    """One contribution in the outbox."""

    id: str
    folder: Path

    @property
    def files(self) -> Path:
        """The folder of what is sent."""
        return self.folder / _FILES

    def contents(self) -> dict[str, Path]:
        """The files by their names below `files`, sorted.

        Raises:
            CheckpointError: they are not those that the contribution was written with.
        """
        found = contents(self.files)
        if identity(found) != self.id:
            raise CheckpointError(
                f"{self.folder} was changed or is incomplete. Delete it and contribute the search once more."
            )
        return found

    def state(self) -> State:
        """What is known of it.

        Raises:
            CheckpointError: the file is damaged.
        """
        path = self.folder / _STATE
        if not path.is_file():
            return State()
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format_version"] != FORMAT_VERSION:
                raise ValueError(f"format version {raw['format_version']}")
            return State(tuple(map(str, raw["waiting"])), {str(k): str(v) for k, v in raw["sent"].items()})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is damaged ({error}). Delete {self.folder} and contribute the search once more."
            ) from error

    def wait_for(self, repo: str) -> None:
        """Remember that it is to be sent to a repository."""
        state = self.state()
        self._save(State(tuple(dict.fromkeys([*state.waiting, repo])), state.sent))

    def mark_sent(self, repo: str, address: str) -> None:
        """Remember that a repository has it."""
        state = self.state()
        waiting = tuple(name for name in state.waiting if name != repo)
        self._save(State(waiting, {**state.sent, repo: address}))

    def forget(self, repo: str) -> None:
        """Do not send it to a repository after all."""
        state = self.state()
        self._save(State(tuple(name for name in state.waiting if name != repo), state.sent))

    def _save(self, state: State) -> None:
        content = {"format_version": FORMAT_VERSION, "waiting": state.waiting, "sent": dict(state.sent)}
        with _writing():
            write_whole(self.folder / _STATE, json.dumps(content, indent=2).encode())


def root() -> Path:
    """The folder of all contributions; it need not exist."""
    return cache.root() / "outbox"


def put(write: Callable[[Path], None]) -> Parcel:
    """Take in a contribution that `write` writes into an empty folder; the same one is there once.

    Raises:
        StorageError: the disk is full, or the folder cannot be written; nothing half-written stays.
    """
    with _writing():
        root().mkdir(parents=True, exist_ok=True)
        with FileLock(root() / ".lock"), tempfile.TemporaryDirectory(dir=root(), prefix=".draft-") as draft:
            written = Path(draft) / _FILES
            written.mkdir()
            write(written)
            parcel = Parcel(name := identity(contents(written)), root() / name)
            if not parcel.folder.exists():
                parcel.folder.mkdir()
            elif _is_whole(parcel):
                return parcel
            shutil.rmtree(parcel.files, ignore_errors=True)
            written.rename(parcel.files)
    return parcel


def parcels() -> list[Parcel]:
    """All contributions, by id; drafts that a killed process left are none."""
    if not root().is_dir():
        return []
    return [Parcel(path.name, path) for path in sorted(root().iterdir()) if not path.name.startswith(".")]


def contents(folder: Path) -> dict[str, Path]:
    """The files of a folder by their names below it, sorted."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return dict(sorted(found.items()))


def identity(files: Mapping[str, Path]) -> str:
    """First 16 hexadecimal digits of the sha256 over names and contents.

    Raises:
        CheckpointError: a file cannot be read.
    """
    try:
        lines = [f"{name} {manifest.sha256(path)}\n" for name, path in sorted(files.items())]
    except Fault as fault:
        raise CheckpointError(str(fault)) from fault
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:16]


def _is_whole(parcel: Parcel) -> bool:
    return parcel.files.is_dir() and identity(contents(parcel.files)) == parcel.id


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"cannot write the outbox {root()}: {error.strerror or error}. Make room, or set "
            f"{cache.VARIABLE} to a folder that can be written."
        ) from error
