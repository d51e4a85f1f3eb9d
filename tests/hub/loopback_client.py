"""Clients of the loopback Hub: processes of their own, as huggingface_hub reads its settings on import."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_SETTINGS = ("HF_", "HUGGING")
# huggingface_hub uploads large files in a way that its own transport warns of.
_WARNINGS = ("error", "ignore:Use 'content=<...>' to upload:DeprecationWarning")


@dataclass(frozen=True)
class LoopbackHub:
    """A running loopback Hub and a cache folder that its clients share."""

    address: str
    root: Path
    home: Path

    def users(self, **roles: str) -> None:
        """Those who may log in: the token of NAME is ``hf_NAME``, its role ``"read"`` or ``"write"``."""
        users = {f"hf_{name}": {"name": name, "role": role} for name, role in roles.items()}
        (self.root / "users.json").write_text(json.dumps(users))

    def received(self) -> list[bytes]:
        """All that clients sent, request by request: first line, headers and body."""
        folder = self.root / "received"
        return [path.read_bytes() for path in sorted(folder.iterdir())] if folder.is_dir() else []

    def add(
        self, repo: str, files: Mapping[str, bytes], commit: str, *, kind: str = "models", **settings: object
    ) -> None:
        """Put a commit into a repository and move its main branch there."""
        folder = self.root / kind / repo
        for name, content in files.items():
            path = folder / commit / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "refs.json").write_text(json.dumps({"main": commit}))
        (folder / "settings.json").write_text(json.dumps(settings))

    def sent(self, filename: str) -> list[int]:
        """Bytes of each answer with content of this file, in any repository, in order."""
        log = self.root / "sent.log"
        lines = log.read_text().splitlines() if log.is_file() else []
        pairs = [line.split("\t") for line in lines]
        return [int(size) for path, size in pairs if path == filename]

    def environment(self, *, offline: bool = False, token: str | None = None) -> dict[str, str]:
        """Of a process whose Hub this is."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS)}
        environment |= {
            "HF_ENDPOINT": self.address,
            "HF_HOME": str(self.home),
            "FMS_HUB_CACHE": str(self.home / "fms_hub"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": str(int(offline)),
        }
        return environment if token is None else {**environment, "HF_TOKEN": token}

    def run(
        self, script: str, *, offline: bool = False, token: str | None = None, seconds: float = 100
    ) -> list[str]:
        """Lines that a script prints in a fresh Python whose Hub this is; it may take so many seconds."""
        done = subprocess.run(
            [sys.executable, *(f"-W{rule}" for rule in _WARNINGS), "-c", script],
            env=self.environment(offline=offline, token=token),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
