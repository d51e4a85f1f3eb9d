"""The log of a search: append-only JSON lines, with the kept checkpoints the only state a search has.

Layout of a search's folder::

    logbook.jsonl     line 1: the header (format version, what the search is about)
                      each further line: an Observation, or a Probe (its epoch is 0), in the order of telling
    about.json        see `fms_hub.hub.about`
    logbook.lock      held by the process that is searching
    sketches/         rNNNN-eNNN.safetensors, the weight graph after an epoch
    checkpoints/      rNNNN-eNNN/, see `fms_hub.finetune.checkpoint`

A line is written whole and synced before anything is deleted, so that a kill at any moment loses
at most the epoch under way.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from fms_hub.errors import CheckpointError, OutputError, ResumeError, StorageError
from fms_hub.hub.entries import Entries, Entry, from_record, to_record
from fms_hub.records import Observation, Probe

FORMAT_VERSION = 1
FILE_NAME = "logbook.jsonl"


class Logbook:
    """An open log: read once, then appended to by one process at a time.

    Args:
        folder: the search's folder; created if absent.
        identity: what the search is about, e.g. ``{"dataset": ..., "space": ...}``; all strings.

    Attributes:
        folder: of the search.
        entries: of the log, oldest first; `append` adds to them.

    Raises:
        OutputError: the folder cannot be written.
        ResumeError: the folder belongs to a search with another identity, or is in use.
        CheckpointError: a line before the last is damaged, or the format version is another one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]) -> None:
        self.folder = folder
        self._path = folder / FILE_NAME
        self._lock = _lock(folder)
        try:
            self.entries = self._open(dict(identity))
        except BaseException:
            self._lock.release()
            raise

    def _open(self, identity: dict[str, str]) -> Entries:
        header, entries, self._size = _parse(self._path)
        if header is None:
            self._write({"format_version": FORMAT_VERSION, "identity": identity})
        else:
            _compare(self.folder, header, identity)
        return entries

    @property
    def history(self) -> tuple[Observation, ...]:
        """All observations, oldest first."""
        return tuple(self.entries.history)

    @property
    def probes(self) -> tuple[Probe, ...]:
        """All probes, oldest first."""
        return tuple(self.entries.probes.values())

    def append(self, entry: Entry) -> None:
        """Add one observation or probe and wait until the disk has it.

        Raises:
            ValueError: an observation does not follow its run's last one, or a candidate is probed twice.
            StorageError: the disk is full or gone; what was logged before is kept.
        """
        self.entries.check(entry)
        self._write(to_record(entry))
        self.entries.add(entry)

    def _write(self, record: Mapping[str, Any]) -> None:
        line = json.dumps(record, sort_keys=True, allow_nan=False).encode() + b"\n"
        # Unbuffered, so that nothing is left behind to be flushed later.
        with self._path.open("r+b", buffering=0) as file:
            file.truncate(self._size)
            file.seek(self._size)
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, "no space left for the whole line")
                os.fsync(file.fileno())
            except OSError as error:
                with contextlib.suppress(OSError):
                    file.truncate(self._size)
                raise StorageError(
                    f"cannot append to {self._path}: {error}. What was logged before is intact; "
                    "free some space and run the same command again."
                ) from error
        self._size += len(line)

    def close(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(folder: Path) -> tuple[Observation, ...]:
    """Read the observations of a search's folder without opening it for writing.

    Raises:
        OutputError: there is no log in the folder.
        CheckpointError: the log is damaged before its last line.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise OutputError(f"{folder} holds no {FILE_NAME}; name the --out folder of a search.")
    return tuple(_parse(path)[1].history)


def read_identity(folder: Path) -> dict[str, str]:
    """What the search of a folder is about, as its log says.

    Raises:
        OutputError, CheckpointError: as in `read_history`.
    """
    path = folder / FILE_NAME
    if not path.exists():
        raise OutputError(f"{folder} holds no {FILE_NAME}; name the --out folder of a search.")
    with path.open("rb") as file:
        line = file.readline()
    try:
        identity = _header(path, json.loads(line)).get("identity")
    except ValueError as error:
        raise CheckpointError(f"{path}, line 1: {error}. Restore the file from a copy.") from error
    if not isinstance(identity, dict) or not all(isinstance(text, str) for text in identity.values()):
        raise CheckpointError(f"{path} does not say what its search is about. Restore it from a copy.")
    return identity


def _lock(folder: Path) -> BaseFileLock:
    lock = FileLock(folder / "logbook.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE_NAME).open("ab").close()
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ResumeError(
            f"{folder} is in use by another search; wait for it or choose another out=."
        ) from error
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}. Choose another folder with out=."
        ) from error
    return lock


def _parse(path: Path) -> tuple[dict[str, Any] | None, Entries, int]:
    """Header, entries, and the number of bytes that are whole lines."""
    header: dict[str, Any] | None = None
    entries = Entries()
    intact = 0
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line does not end")
            record = json.loads(line)
            if number == 1:
                header = _header(path, record)
            else:
                entries.add(from_record(record))
        except ValueError as error:
            if isinstance(error, CheckpointError) or number < len(lines):
                raise CheckpointError(
                    f"{path}, line {number}: {error}. Restore the file from a copy, or start a new search."
                ) from error
            warnings.warn(
                f"{path}: dropped the last line, which was cut off ({error}); the search repeats that epoch.",
                stacklevel=4,
            )
            break
        intact += len(line)
    return header, entries, intact


def _header(path: Path, record: Any) -> dict[str, Any]:
    if not isinstance(record, dict) or "format_version" not in record:
        raise CheckpointError(f"{path} is not a log of fms_hub: it has no format version")
    if record["format_version"] != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {record['format_version']}, this release reads {FORMAT_VERSION}"
        )
    return record


def _compare(folder: Path, header: Mapping[str, Any], identity: Mapping[str, str]) -> None:
    before = header["identity"]
    names = sorted(set(before) | set(identity))
    changed = [
        f"{name} (was {before.get(name, 'absent')}, now {identity.get(name, 'absent')})"
        for name in names
        if before.get(name) != identity.get(name)
    ]
    if changed:
        raise ResumeError(
            f"{folder} holds another search; these differ: {'; '.join(changed)}. "
            "Use the same settings to resume it, or choose another out=."
        )
