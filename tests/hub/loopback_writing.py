"""What the loopback Hub does for those who write: repositories, uploads, commits, pull requests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from http import HTTPStatus
from typing import Any

from loopback_store import LARGE, Answer, Refusal, Repository, Request, blob, create

_DATE = "2026-01-01T00:00:00.000Z"
_PULL = re.compile(r"refs/pr/\d+")


def create_repo(request: Request) -> Answer:
    user, asked = request.user(writes=True), request.json()
    assert user is not None
    kind = f"{asked.get('type') or 'model'}s"
    name = f"{asked.get('organization') or user['name']}/{asked['name']}"
    there = (request.root / kind / name).is_dir()
    if not there:
        create(request.root, kind, name)
    url = f"{request.address}/{'' if kind == 'models' else kind + '/'}{name}"
    answer = {"url": url, "name": name, "id": hashlib.sha256(name.encode()).hexdigest()[:24]}
    return Answer.of(answer, HTTPStatus.CONFLICT if there else HTTPStatus.OK)


def validate_yaml(request: Request) -> Answer:
    return Answer.of({"warnings": [], "errors": []})


def preupload(request: Request, repository: Repository, revision: str) -> Answer:
    request.user(writes=True)
    commit = repository.commit(revision)
    there = repository.files(commit)
    told = []
    for item in request.json()["files"]:
        path = item["path"]
        large = path.endswith(LARGE)
        told.append({"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False})
        if path in there:
            content = repository.read(commit, path)
            told[-1]["oid"] = hashlib.sha256(content).hexdigest() if large else blob(content)
    return Answer.of({"files": told})


def lfs_batch(request: Request, repository: Repository) -> Answer:
    request.user(writes=True)
    objects = []
    for item in request.json()["objects"]:
        told: dict[str, Any] = {"oid": item["oid"], "size": item["size"]}
        if not (request.root / "lfs" / item["oid"]).is_file():
            told["actions"] = {
                "upload": {"href": f"{request.address}/lfs/{item['oid']}"},
                "verify": {"href": f"{request.address}/lfs-verify"},
            }
        objects.append(told)
    return Answer.of({"transfer": "basic", "objects": objects})


def lfs_put(request: Request, oid: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refusal(HTTPStatus.BAD_REQUEST, "WrongHash")
    (request.root / "lfs").mkdir(exist_ok=True)
    (request.root / "lfs" / oid).write_bytes(request.body)
    return Answer()


def lfs_verify(request: Request) -> Answer:
    asked = request.json()
    file = request.root / "lfs" / asked["oid"]
    if not file.is_file() or file.stat().st_size != asked["size"]:
        raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchObject")
    return Answer.of({})


def commit(request: Request, repository: Repository, revision: str) -> Answer:
    """To a branch, to an open pull request, or with ``create_pr`` to a new one."""
    user = request.user(writes=True)
    assert user is not None
    parent = repository.commit(revision)
    lines = [json.loads(line) for line in request.body.splitlines()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    if header.get("parentCommit") not in (None, parent):
        raise Refusal(HTTPStatus.PRECONDITION_FAILED, "ParentMoved")
    made = repository.grow(parent, _changes(request, lines))
    told = {
        "success": True,
        "commitOid": made,
        "commitUrl": f"{request.address}/{repository.url}/commit/{made}",
    }
    if not request.flag("create_pr"):
        if not _PULL.fullmatch(revision) and not _owns(user, repository):
            raise Refusal(HTTPStatus.FORBIDDEN, "NotYours")
        repository.point(revision, made)
        return Answer.of(told)
    number = len(repository.discussions()) + 1
    opened = {"num": number, "title": header["summary"], "author": user["name"], "status": "open"}
    repository.discuss([*repository.discussions(), {**opened, "base": parent, "head": made}])
    repository.point(f"refs/pr/{number}", made)
    url = f"{request.address}/{repository.url}/discussions/{number}"
    return Answer.of({**told, "pullRequestUrl": url})


def _owns(user: dict[str, Any], repository: Repository) -> bool:
    return repository.name.split("/")[0] in (user["name"], *user.get("orgs", []))


def _changes(request: Request, lines: list[dict[str, Any]]) -> dict[str, bytes | None]:
    changes: dict[str, bytes | None] = {}
    for line in lines:
        value = line["value"]
        if line["key"] == "file":
            changes[value["path"]] = base64.b64decode(value["content"])
        elif line["key"] == "lfsFile":
            file = request.root / "lfs" / value["oid"]
            if not file.is_file():
                raise Refusal(HTTPStatus.BAD_REQUEST, "LfsObjectMissing")
            changes[value["path"]] = file.read_bytes()
        elif line["key"] == "deletedFile":
            changes[value["path"]] = None
    return changes


def tag(request: Request, repository: Repository, revision: str) -> Answer:
    user, name = request.user(writes=True), request.json()["tag"]
    assert user is not None
    if not _owns(user, repository):
        raise Refusal(HTTPStatus.FORBIDDEN, "NotYours")
    if name in repository.refs():
        raise Refusal(HTTPStatus.CONFLICT, "TagExists")
    repository.point(name, repository.commit(revision))
    repository.set("named", [*(repository.setting("named") or []), name])
    return Answer.of({})


def discussions(request: Request, repository: Repository) -> Answer:
    asked = {name: request.query.get(name, ["all"])[0] for name in ("status", "type")}
    found = [
        _discussion(repository, item)
        for item in repository.discussions()
        if asked["status"] in ("all", item["status"])
    ]
    found = [] if asked["type"] == "discussion" else found[::-1]
    start = 10 * int(request.query.get("p", ["0"])[0])
    return Answer.of({"discussions": found[start : start + 10], "count": len(found), "start": start})


def _discussion(repository: Repository, item: dict[str, Any]) -> dict[str, Any]:
    return {
        "num": item["num"],
        "title": item["title"],
        "status": item["status"],
        "author": {"name": item["author"]},
        "createdAt": _DATE,
        "isPullRequest": True,
        "repo": {"name": repository.name, "type": repository.kind.removesuffix("s")},
    }


def merge(request: Request, repository: Repository, number: str) -> Answer:
    user = request.user(writes=True)
    assert user is not None
    if not _owns(user, repository):
        raise Refusal(HTTPStatus.FORBIDDEN, "NotYours")
    items = repository.discussions()
    item = next((item for item in items if item["num"] == int(number) and item["status"] == "open"), None)
    if item is None:
        raise Refusal(HTTPStatus.NOT_FOUND, "NoSuchDiscussion")
    before = {name: repository.read(item["base"], name) for name in repository.files(item["base"])}
    after = {name: repository.read(item["head"], name) for name in repository.files(item["head"])}
    changed = {name: content for name, content in after.items() if before.get(name) != content}
    repository.point("main", repository.grow(repository.commit(None), changed))
    item["status"] = "merged"
    repository.discuss(items)
    return Answer.of({})
