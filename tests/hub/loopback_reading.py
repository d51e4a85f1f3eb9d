"""What the loopback Hub answers to those who read: infos, trees, files, lists."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs

from loopback_store import LARGE, Answer, Refusal, Repository, Request, blob

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")


def whoami(request: Request) -> Answer:
    user = request.user()
    if user is None:
        raise Refusal(HTTPStatus.UNAUTHORIZED, "NoToken")
    role = {"accessToken": {"displayName": "test", "role": user["role"]}}
    return Answer.of({"type": "user", "name": user["name"], "orgs": [], "auth": role})


def info(request: Request, repository: Repository, revision: str | None = None) -> Answer:
    return Answer.of(_described(repository, repository.commit(revision), sizes=request.flag("blobs")))


def listing(request: Request, kind: str) -> Answer:
    """All repositories whose name contains ``search`` and that have the tags of ``filter``."""
    word = request.query.get("search", [""])[0]
    tags = set(request.query.get("filter", []))
    found = []
    for path in sorted((request.root / kind).glob("*/*/refs.json")):
        name = path.parent.relative_to(request.root / kind).as_posix()
        repository = Repository(kind, name, path.parent)
        if word in name and tags <= set(repository.setting("tags") or []):
            found.append(_described(repository, repository.commit(None)))
    return Answer.of(found)


def _described(repository: Repository, commit: str, *, sizes: bool = False) -> dict[str, Any]:
    siblings: list[dict[str, Any]] = [{"rfilename": path} for path in repository.files(commit)]
    if sizes:
        siblings = [{**item, "size": len(repository.read(commit, item["rfilename"]))} for item in siblings]
    return {
        "_id": hashlib.sha256(repository.name.encode()).hexdigest()[:24],
        "id": repository.name,
        "modelId": repository.name,
        "sha": commit,
        "private": bool(repository.setting("private")),
        "gated": "manual" if repository.setting("gated") else False,
        "tags": repository.setting("tags") or [],
        "siblings": siblings,
    }


def refs(request: Request, repository: Repository) -> Answer:
    found = repository.refs()
    pulls = {name: commit for name, commit in found.items() if name.startswith("refs/pr/")}
    tags = repository.setting("named") or []
    heads, named = (
        [
            {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit}
            for name, commit in found.items()
            if name not in pulls and (name in tags) == (kind == "tags")
        ]
        for kind in ("heads", "tags")
    )
    requests = [{"name": name, "ref": name, "targetCommit": commit} for name, commit in pulls.items()]
    return Answer.of({"branches": heads, "converts": [], "tags": named, "pullRequests": requests})


def tree(request: Request, repository: Repository, revision: str, below: str | None = None) -> Answer:
    commit = repository.commit(revision)
    prefix = f"{below.strip('/')}/" if below else ""
    inside = [path for path in repository.files(commit) if path.startswith(prefix)]
    if not inside and prefix:
        raise Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", commit)
    entries = {}
    for path in inside:
        parts = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if request.flag("recursive") else min(len(parts), 2)):
            folder = prefix + "/".join(parts[:depth])
            entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
        if request.flag("recursive") or len(parts) == 1:
            entries[path] = _entry(repository, commit, path)
    return Answer.of([entries[path] for path in sorted(entries)])


def paths_info(request: Request, repository: Repository, revision: str) -> Answer:
    commit = repository.commit(revision)
    files, found = repository.files(commit), []
    for path in parse_qs(request.body.decode()).get("paths", []):
        if path in files:
            found.append(_entry(repository, commit, path))
        elif any(name.startswith(f"{path}/") for name in files):
            found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
    return Answer.of(found)


def _entry(repository: Repository, commit: str, path: str) -> dict[str, Any]:
    content = repository.read(commit, path)
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob(content)}
    if path.endswith(LARGE):
        digest = hashlib.sha256(content).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
    return entry


def file(request: Request, repository: Repository, revision: str, path: str) -> Answer:
    if repository.setting("gated"):
        raise Refusal(HTTPStatus.FORBIDDEN, "GatedRepo")
    commit = repository.commit(revision)
    content = repository.read(commit, path)
    digest = hashlib.sha256(content).hexdigest()
    headers = {"X-Repo-Commit": commit, "ETag": f'"{digest[:40]}"', "Accept-Ranges": "bytes"}
    if path.endswith(LARGE):
        headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
    if path in (repository.setting("damaged") or []):
        content = content[:-1] + bytes([content[-1] ^ 1])
    cut = len(content) // 2 if path in (repository.setting("broken") or []) else None
    status = HTTPStatus.OK
    if asked := _RANGE.fullmatch(request.headers.get("Range", "")):
        start, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            raise Refusal(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "Range")
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        content, status = content[start : last + 1], HTTPStatus.PARTIAL_CONTENT
    if request.method != "HEAD":
        with (request.root / "sent.log").open("a") as log:
            log.write(f"{PurePosixPath(request.path)}\t{len(content)}\n")
    return Answer(content, status, headers, cut)
