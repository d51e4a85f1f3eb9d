"""A small Hugging Face Hub on this machine for tests. Run it as a process of its own.

    python loopback.py ROOT        prints its address, serves until it is killed

`loopback_store` says what lies below ROOT. A repository's settings.json may have::

    {"gated": true}                        its files answer 403
    {"private": true}                      it answers 404 to those without a token
    {"busy": true}                         it answers 503
    {"damaged": ["model.safetensors"]}     the last byte of these files is flipped
    {"broken": ["model.safetensors"]}      the connection ends after half of these files
    {"failing": {"commit": [503, 429]}}    so the first requests of a kind (a name in `ROUTES`) are answered
    {"lost": {"commit": 1}}                so many requests of a kind are done, but never answered
    {"slow": {"info": 2.5}}                seconds that requests of a kind wait

ROOT/sent.log gets a line for each answer with a file's content: its path, a tab, the number of bytes.
ROOT/received gets all that clients send, one file a request. Files are also served in ranges. Everything is
read anew for each request, so a test may change a repository while the server runs.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import loopback_reading as reading
import loopback_writing as writing
from loopback_store import Answer, Refusal, Repository, Request

_API = r"/api/(?P<kind>models|datasets)/(?P<repo>[^/]+/[^/]+)"
_PAGE = r"/((?P<kind>datasets)/)?(?P<repo>[^/]+/[^/]+)"
_AT = r"(?P<revision>refs/pr/\d+|[^/]+)"
ROUTES: dict[str, tuple[str, str, Callable[..., Answer]]] = {
    "whoami": ("GET", r"/api/whoami-v2", reading.whoami),
    "create": ("POST", r"/api/repos/create", writing.create_repo),
    "yaml": ("POST", r"/api/validate-yaml", writing.validate_yaml),
    "list": ("GET", r"/api/(?P<kind>models|datasets)", reading.listing),
    "refs": ("GET", rf"{_API}/refs", reading.refs),
    "info": ("GET", rf"{_API}(/revision/{_AT})?", reading.info),
    "tree": ("GET", rf"{_API}/tree/{_AT}(/(?P<below>.+))?", reading.tree),
    "paths": ("POST", rf"{_API}/paths-info/{_AT}", reading.paths_info),
    "preupload": ("POST", rf"{_API}/preupload/{_AT}", writing.preupload),
    "tag": ("POST", rf"{_API}/tag/{_AT}", writing.tag),
    "commit": ("POST", rf"{_API}/commit/{_AT}", writing.commit),
    "discussions": ("GET", rf"{_API}/discussions", writing.discussions),
    "merge": ("POST", rf"{_API}/discussions/(?P<number>\d+)/merge", writing.merge),
    "batch": ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", writing.lfs_batch),
    "put": ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", writing.lfs_put),
    "verify": ("POST", r"/lfs-verify", writing.lfs_verify),
    "file": ("GET", rf"{_PAGE}/resolve/{_AT}/(?P<path>.+)", reading.file),
}


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does, from the folder in `root`."""

    protocol_version = "HTTP/1.1"
    root: Path
    asked: Counter[tuple[str, str]]
    lock: threading.Lock

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        request = self._request()
        try:
            with self.lock:
                self._keep(request)
            answer = self._routed(request)
        except Refusal as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.code}
            if refusal.commit:
                headers["X-Repo-Commit"] = refusal.commit
            answer = Answer(status=refusal.status, headers=headers)
        if answer.cut == -1:
            self.close_connection = True
        else:
            self._send(answer)

    def _request(self) -> Request:
        parts = urlsplit(self.path)
        size = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(size)
        host, port = self.server.server_address[:2]
        query = parse_qs(parts.query)
        address = f"http://{host}:{port}"
        return Request(self.root, address, self.command, unquote(parts.path), query, self.headers, body)

    def _keep(self, request: Request) -> None:
        folder = self.root / "received"
        folder.mkdir(exist_ok=True)
        head = f"{self.requestline}\n{self.headers}".encode()
        (folder / f"{len(list(folder.iterdir())):06d}").write_bytes(head + request.body)

    def _routed(self, request: Request) -> Answer:
        method = "GET" if request.method == "HEAD" else request.method
        for name, (expected, pattern, answer) in ROUTES.items():
            if method == expected and (match := re.fullmatch(pattern, request.path)):
                groups = match.groupdict()
                if "repo" not in groups:
                    return answer(request, **groups)
                kind = groups.pop("kind") or "models"
                repository = self._repository(request, kind, groups.pop("repo"))
                return self._disturbed(
                    name, request, repository, partial(answer, request, repository, **groups)
                )
        raise Refusal(HTTPStatus.NOT_FOUND, "Unknown")

    def _repository(self, request: Request, kind: str, name: str) -> Repository:
        repository = Repository(kind, name, self.root / kind / name)
        hidden = repository.setting("private") and request.user() is None
        if not repository.folder.is_dir() or hidden:
            raise Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound")
        if repository.setting("busy"):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "Busy")
        return repository

    def _disturbed(
        self, name: str, request: Request, repository: Repository, answer: Callable[[], Answer]
    ) -> Answer:
        """The answer, late, refused or lost as the repository's settings want it."""
        time.sleep((repository.setting("slow") or {}).get(name, 0.0))
        with self.lock:
            before = self.asked[repository.url, name]
            self.asked[repository.url, name] += 1
            statuses = (repository.setting("failing") or {}).get(name, [])
            if before < len(statuses):
                raise Refusal(HTTPStatus(statuses[before]), "Failing")
            told = answer()
            lost = before - len(statuses) < (repository.setting("lost") or {}).get(name, 0)
            return Answer(cut=-1) if lost else told

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in {**answer.headers, "Content-Length": str(len(answer.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut])
        if answer.cut is not None:
            self.close_connection = True


def serve(root: Path) -> None:
    """Serve `root` on a free port of the loopback interface; the address goes to standard output."""
    state = {"root": root, "asked": Counter(), "lock": threading.Lock()}
    handler = type("RootedHub", (Hub,), state)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
