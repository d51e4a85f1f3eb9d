"""The salt of this machine: what contributions say of private names is hashed with it, and it never leaves.

Below the cache's folder (`fms_hub.weights.cache.root`) as ``salt``, readable by its owner alone. Whoever
deletes it starts anew: later contributions cannot be tied to earlier ones.
"""

from __future__ import annotations

import hmac
import os
import secrets
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights import cache

FILE_NAME: Final = "salt"
_BYTES: Final = 32


@dataclass(frozen=True)
class Salt:
    """Hashes that nobody without the secret can compute or reverse."""

    secret: bytes = field(repr=False)

    def digest(self, *parts: str) -> str:
        """64 hexadecimal digits of the parts: HMAC-SHA256 (RFC 2104)."""
        text = "\n".join(f"{len(part)} {part}" for part in parts)
        return hmac.digest(self.secret, text.encode(), "sha256").hex()


def machine_salt() -> Salt:
    """The salt of this machine, made at its first use.

    Raises:
        StorageError: it cannot be written or read.
        CheckpointError: the file is damaged.
    """
    path = cache.root() / FILE_NAME
    try:
        if not path.exists():
            _make(path)
        secret = path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot keep a salt in {path}: {error}. Set {cache.VARIABLE} to a folder that can be written."
        ) from error
    if len(secret) != _BYTES:
        raise CheckpointError(
            f"{path} has {len(secret)} bytes, expected {_BYTES}. Delete it to get a new one."
        )
    return Salt(secret)


def _make(path: Path) -> None:
    """Whole or not at all; where another process was faster, its salt stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=".salt-")  # made readable by its owner alone
    try:
        with os.fdopen(number, "wb") as file:
            file.write(secrets.token_bytes(_BYTES))
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            Path(draft).replace(path)
    finally:
        Path(draft).unlink(missing_ok=True)
