"""The loopback Hub's disk: repositories, their commits, and what a client is answered.

Below ROOT lies one folder for each repository, in ``models`` or ``datasets``::

    models/ORGANISATION/NAME/
        refs.json          {"main": COMMIT, "v1": COMMIT, "refs/pr/1": COMMIT}
        COMMIT/...         the files of a commit; COMMIT is 40 hexadecimal digits
        discussions.json   [{"num": 1, "title": ..., "status": "open", "head": COMMIT, "base": COMMIT}]
        settings.json      optional, see `loopback`; "named" lists the refs that are tags
    lfs/SHA256             uploaded large files
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

LARGE = (".safetensors", ".parquet", ".bin", ".gz")
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Refusal(Exception):
    """An answer other than 200, with the Hub's X-Error-Code."""

    def __init__(self, status: HTTPStatus, code: str, commit: str | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.commit = commit


@dataclass(frozen=True)
class Answer:
    """What is sent back; ``cut`` closes the connection after so many bytes of the body."""

    body: bytes = b""
    status: HTTPStatus = HTTPStatus.OK
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None

    @classmethod
    def of(cls, content: object, status: HTTPStatus = HTTPStatus.OK) -> Answer:
        """As JSON."""
        return cls(json.dumps(content).encode(), status, {"Content-Type": "application/json"})


@dataclass(frozen=True)
class Request:
    """What a client asked, its path unquoted."""

    root: Path
    address: str
    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def flag(self, name: str) -> bool:
        return self.query.get(name, ["0"])[0].lower() in ("1", "true")

    def user(self, *, writes: bool = False) -> dict[str, Any] | None:
        """Who asks by ``ROOT/users.json``: ``{TOKEN: {"name": ..., "role": "read" or "write"}}``."""
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        file = self.root / "users.json"
        users = json.loads(file.read_text()) if file.is_file() else {}
        if token and token not in users:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "InvalidToken")
        if writes and not token:
            raise Refusal(HTTPStatus.UNAUTHORIZED, "NoToken")
        if writes and users[token]["role"] != "write":
            raise Refusal(HTTPStatus.FORBIDDEN, "ReadOnlyToken")
        return users.get(token)


@dataclass(frozen=True)
class Repository:
    """One repository's folder."""

    kind: str
    name: str
    folder: Path

    @property
    def url(self) -> str:
        """Its page, below the address."""
        return f"{'' if self.kind == 'models' else self.kind + '/'}{self.name}"

    def setting(self, name: str) -> Any:
        file = self.folder / "settings.json"
        return json.loads(file.read_text()).get(name) if file.is_file() else None

    def set(self, name: str, value: object) -> None:
        file = self.folder / "settings.json"
        found = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps({**found, name: value}))

    def refs(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "refs.json").read_text())
        return found

    def point(self, ref: str, commit: str) -> None:
        (self.folder / "refs.json").write_text(json.dumps({**self.refs(), ref: commit}))

    def commit(self, revision: str | None) -> str:
        found = self.refs().get(revision or "main", revision)
        if found is None or not _COMMIT.fullmatch(found) or not (self.folder / found).is_dir():
            raise Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound")
        return found

    def files(self, commit: str) -> list[str]:
        root = self.folder / commit
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    def read(self, commit: str, path: str) -> bytes:
        if path not in self.files(commit):
            raise Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", commit)
        return (self.folder / commit / path).read_bytes()

    def discussions(self) -> list[dict[str, Any]]:
        file = self.folder / "discussions.json"
        return json.loads(file.read_text()) if file.is_file() else []

    def discuss(self, discussions: list[dict[str, Any]]) -> None:
        (self.folder / "discussions.json").write_text(json.dumps(discussions))

    def grow(self, parent: str, files: Mapping[str, bytes | None]) -> str:
        """A commit with a parent's files and these; None takes a file away."""
        draft = self.folder / "draft"
        shutil.copytree(self.folder / parent, draft)
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True) if content is None else path.write_bytes(content)
        text = "\n".join([parent, *(f"{name} {blob(content or b'')}" for name, content in files.items())])
        commit = hashlib.sha1(text.encode()).hexdigest()
        if (self.folder / commit).exists():
            shutil.rmtree(draft)
        else:
            draft.rename(self.folder / commit)
        return commit


def blob(content: bytes) -> str:
    """Git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def create(root: Path, kind: str, name: str) -> None:
    """An empty repository."""
    folder = root / kind / name
    first = hashlib.sha1(name.encode()).hexdigest()
    (folder / first).mkdir(parents=True)
    (folder / "refs.json").write_text(json.dumps({"main": first}))
