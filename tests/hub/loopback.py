"""A small Hugging Face Hub on this machine, read-only, for tests. Run it as a process of its own.

    python loopback.py ROOT        prints its address, serves until it is killed

Below ROOT lies one folder for each repository::

    models/ORGANISATION/NAME/
        refs.json                  {"main": COMMIT, "v1": COMMIT}
        COMMIT/...                 the files of a commit; COMMIT is 40 hexadecimal digits
        settings.json              optional: {"gated": true} answers 403,
                                   {"busy": true} answers 503,
                                   {"damaged": ["model.safetensors"]} flips the last byte of these files

Files are also served in ranges. ROOT/sent.log gets a line for each answer with a file's content: its path,
a tab, the number of bytes.

Everything is read anew for each request, so a test may change a repository while the server runs.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

_INFO = re.compile(r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)(/revision/(?P<revision>.+))?")
_FILE = re.compile(r"/((?P<kind>datasets)/)?(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_LARGE = (".safetensors", ".parquet", ".bin")


class Refusal(Exception):
    """An answer other than 200, with the Hub's X-Error-Code."""

    def __init__(self, status: HTTPStatus, code: str, commit: str | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.commit = commit


@dataclass(frozen=True)
class Repository:
    """One repository's folder."""

    folder: Path

    def setting(self, name: str) -> Any:
        file = self.folder / "settings.json"
        return json.loads(file.read_text()).get(name) if file.is_file() else None

    def commit(self, revision: str | None) -> str:
        refs = json.loads((self.folder / "refs.json").read_text())
        found = refs.get(revision or "main", revision)
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


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does, from the folder in `root`."""

    protocol_version = "HTTP/1.1"
    root: Path

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        try:
            if match := _INFO.fullmatch(path):
                self._info(self._repository(match), match["repo"], match["revision"])
            elif match := _FILE.fullmatch(path):
                self._file(self._repository(match), match["revision"], match["path"])
            else:
                raise Refusal(HTTPStatus.NOT_FOUND, "Unknown")
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code}
            if refusal.commit:
                headers["X-Repo-Commit"] = refusal.commit
            self._send(refusal.status, b"", headers)

    def _repository(self, match: re.Match[str]) -> Repository:
        repository = Repository(self.root / (match["kind"] or "models") / match["repo"])
        if not repository.folder.is_dir():
            raise Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound")
        if repository.setting("busy"):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Busy")
        return repository

    def _info(self, repository: Repository, name: str, revision: str | None) -> None:
        commit = repository.commit(revision)
        info = {
            "_id": hashlib.sha256(name.encode()).hexdigest()[:24],
            "id": name,
            "modelId": name,
            "sha": commit,
            "private": False,
            "gated": "manual" if repository.setting("gated") else False,
            "tags": [],
            "siblings": [{"rfilename": path} for path in repository.files(commit)],
        }
        self._send(HTTPStatus.OK, json.dumps(info).encode(), {"Content-Type": "application/json"})

    def _file(self, repository: Repository, revision: str, path: str) -> None:
        if repository.setting("gated"):
            raise Refusal(HTTPStatus.FORBIDDEN, "GatedRepo")
        commit = repository.commit(revision)
        content = repository.read(commit, path)
        digest = hashlib.sha256(content).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest[:40]}"'}
        if path.endswith(_LARGE):
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        if path in (repository.setting("damaged") or []):
            content = content[:-1] + bytes([content[-1] ^ 1])
        status = HTTPStatus.OK
        if asked := _RANGE.fullmatch(self.headers.get("Range", "")):
            start, last = map(int, asked.groups())
            headers["Content-Range"] = f"bytes {start}-{min(last, len(content) - 1)}/{len(content)}"
            content, status = content[start : last + 1], HTTPStatus.PARTIAL_CONTENT
        if self.command != "HEAD":
            with (self.root / "sent.log").open("a") as log:
                log.write(f"{urlsplit(self.path).path}\t{len(content)}\n")
        self._send(status, content, headers)

    def _send(self, status: HTTPStatus, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def serve(root: Path) -> None:
    """Serve `root` on a free port of the loopback interface; the address goes to standard output."""
    handler = type("RootedHub", (Hub,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
