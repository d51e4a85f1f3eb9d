"""The manifest of a folder of shards: one line a shard, appended under a lock, never rewritten."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filelock import FileLock

from fms_hub.corpus.schema import Fault

MANIFEST = "manifest.jsonl"
LOCK = ".lock"


@dataclass(frozen=True)
class Entry:
    """One line: a shard whose files are complete.

    Attributes:
        schema_version: of the shard.
        shard: its name; a later line of the same name takes the place of an earlier one.
        runs: ids of its runs.
        rows: number of its rows.
        payload: how its sketches are written, see `fms_hub.corpus.sketches`.
        sketch_version: `fms_hub.weights.sketch.SKETCH_VERSION` of the sketches.
        files: sha256 by file name.
    """

    schema_version: int
    shard: str
    runs: tuple[str, ...]
    rows: int
    payload: str
    sketch_version: int
    files: Mapping[str, str]


@dataclass(frozen=True)
class Refused:
    """What does not count, and why."""

    name: str
    why: str


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Alone among the processes that use the folder; it is made if it is absent."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / LOCK):
        yield


def sha256(path: Path) -> str:
    """Of a file's content, in hexadecimal digits.

    Raises:
        Fault: the file cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Fault(f"{path.name} cannot be read ({error.strerror})") from error


def digest(entries: Iterable[Entry]) -> str:
    """Of what shards hold, whatever their order: a sha256 over the names and digests of their files."""
    lines = sorted(f"{name} {content}" for entry in entries for name, content in entry.files.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def append(folder: Path, entry: Entry) -> None:
    """Add a line, on the disk when this returns; call it inside `locked`.

    What a killed writer left of a line is cut off first.
    """
    path = folder / MANIFEST
    line = json.dumps(asdict(entry), sort_keys=True).encode() + b"\n"
    with path.open("ab+") as file:
        file.seek(0)
        content = file.read()
        whole = content.rfind(b"\n") + 1
        file.truncate(whole)
        try:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            os.truncate(path, whole)
            raise


def read(folder: Path) -> tuple[tuple[Entry, ...], tuple[Refused, ...]]:
    """All shards by the manifest, in the order of their first lines, and the lines that cannot be used.

    A last line without its end is one that was being written, and is passed over.
    """
    path = folder / MANIFEST
    if not path.exists():
        return (), ()
    entries: dict[str, Entry] = {}
    refused: list[Refused] = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            entry = _parsed(line)
            entries[entry.shard] = entry
        except Fault as fault:
            refused.append(Refused(f"{MANIFEST} line {number}", str(fault)))
    return tuple(entries.values()), tuple(refused)


def _parsed(line: bytes) -> Entry:
    try:
        raw = json.loads(line)
    except ValueError as error:
        raise Fault("it is no JSON") from error
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version == 1:
        raise Fault("it is of schema version 1; bring it over with `python -m training.corpus collect`")
    try:
        entry = Entry(**raw)
        files = {str(name): str(digest) for name, digest in entry.files.items()}
        return replace(entry, runs=tuple(map(str, entry.runs)), files=files)
    except (TypeError, AttributeError) as error:
        raise Fault(f"it is no line of schema version 2 ({error})") from error
