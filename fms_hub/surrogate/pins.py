"""Which file a surrogate's name on the Hub stands for: its commit and sha256, kept apart from the Hub.

A digest that comes with the file proves nothing. `KNOWN` comes with the package; what else is used is pinned
at its first use in ``surrogates.json`` below the cache's folder (`fms_hub.weights.cache.root`)::

    {"format_version": 1, "pins": {"ORGANISATION/NAME[@REVISION]": {"commit": ..., "sha256": ...}}}

A name stands for the same file from then on, whatever happens to the repository, until it is pulled anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from filelock import FileLock

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights import cache

FILE_NAME: Final = "surrogates.json"
FORMAT_VERSION: Final = 1
_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Pin:
    """One file of a surrogate.

    Attributes:
        commit: 40 hexadecimal digits.
        sha256: of the file, 64 hexadecimal digits.

    Raises:
        ValueError: they are not.
    """

    commit: str
    sha256: str

    def __post_init__(self) -> None:
        if not _COMMIT.fullmatch(self.commit) or not _SHA256.fullmatch(self.sha256):
            raise ValueError(
                f"a pin needs a commit hash and a sha256, found {self.commit!r} and {self.sha256!r}"
            )


KNOWN: Final[Mapping[str, Pin]] = {}
"""Published surrogates that this release was tested with, by ``ORGANISATION/NAME[@REVISION]``."""


def path() -> Path:
    """The user's lock; it need not exist."""
    return cache.root() / FILE_NAME


def all_pins() -> dict[str, Pin]:
    """What every known name stands for on this machine; the user's own pins come before `KNOWN`.

    Raises:
        CheckpointError: the user's lock is damaged.
    """
    return {**KNOWN, **_read()}


def pin_of(name: str) -> Pin | None:
    """What a name stands for, None if it was never used.

    Raises:
        CheckpointError: the user's lock is damaged.
    """
    return all_pins().get(name)


def digests(repo: str, commit: str) -> frozenset[str]:
    """All sha256 that were pinned of a commit under any name: one, if nothing is wrong.

    Raises:
        CheckpointError: the user's lock is damaged.
    """
    pins = [*KNOWN.items(), *_read().items()]
    return frozenset(p.sha256 for name, p in pins if name.partition("@")[0] == repo and p.commit == commit)


def keep(name: str, pin: Pin) -> None:
    """Let a name stand for a file from now on.

    Raises:
        StorageError: the lock cannot be written.
        CheckpointError: the lock is damaged.
    """
    if pin_of(name) == pin:
        return
    lock = path()
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock.with_name(f".{FILE_NAME}.lock")):
            pins = {key: asdict(value) for key, value in sorted({**_read(), name: pin}.items())}
            partial = lock.with_name(f"{FILE_NAME}.partial")
            partial.write_text(json.dumps({"format_version": FORMAT_VERSION, "pins": pins}, indent=2))
            partial.replace(lock)
    except OSError as error:
        raise StorageError(
            f"cannot pin {name} in {lock}: {error}. Set {cache.VARIABLE} to a folder that can be written."
        ) from error


def _read() -> dict[str, Pin]:
    lock = path()
    try:
        raw = json.loads(lock.read_text(encoding="utf-8"))
        if raw["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format version {raw['format_version']}")
        return {str(name): Pin(**pin) for name, pin in raw["pins"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{lock}, which pins surrogates, is damaged ({error}). Look at it; deleting it pins each anew at "
            "its next use, unverified."
        ) from error
