"""The door to huggingface_hub for data that people give back: pull requests on dataset repositories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Final

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import RepoFile

from fms_hub.errors import HubError
from fms_hub.hub.client import api, verify_download
from fms_hub.hub.refusals import TransportError, hub_errors, retried

_TYPE: Final = "dataset"
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def propose(repo: str, files: Mapping[str, Path], *, title: str, description: str = "") -> str:
    """Address of a pull request that adds files; one of the same title is found, and not opened twice.

    Where the repository has all of the files already, the address of its last commit.

    Args:
        repo: dataset repository, ``"organisation/name"``.
        files: by their paths in the repository.
        title: names what is given, e.g. by a hash of its content.
        description: for those who read the request.

    Raises:
        HubError: there is no login or it may not write, no such repository, or the Hub cannot be reached.
    """
    with hub_errors(repo, kind=_TYPE):
        client = api()
        require_writer(client)
        try:
            return retried(
                lambda: _proposed(client, repo, title) or _open(client, repo, files, title, description)
            )
        except RepositoryNotFoundError as error:
            if client.repo_exists(repo, repo_type="model"):
                raise HubError(f"{repo} is a model repository; name a dataset repository.") from error
            raise


def proposed(repo: str, title: str) -> str | None:
    """Address of the pull request of this title, whatever became of it; None if there is none.

    Raises:
        HubError: no such repository, or the Hub cannot be reached.
    """
    with hub_errors(repo, kind=_TYPE):
        return retried(lambda: _proposed(api(), repo, title))


def is_public(repo: str) -> bool:
    """Whether anyone can see a model repository and read its files without a login or consent.

    Raises:
        HubError: the Hub cannot be reached.
    """
    with hub_errors(repo):
        try:
            info = retried(lambda: api(anonymous=True).model_info(repo))
        except RepositoryNotFoundError:
            return False
    return not info.private and not info.gated


def fetch_proposal(
    repo: str, revision: str, below: str, target: Path, *, most_files: int, most_bytes: int
) -> str:
    """Copy the files below a folder of a dataset repository's revision; sizes are looked at first.

    Args:
        repo: ``"organisation/name"``.
        revision: e.g. ``"refs/pr/3"``.
        below: the folder.
        target: folder that the files go to, with their paths below the repository's root.
        most_files, most_bytes: more are refused.

    Returns:
        The commit that they are of.

    Raises:
        HubError: too many, too large, a path that leads elsewhere, or the Hub cannot be reached.
    """
    with hub_errors(repo, revision, _TYPE):
        client = api()
        commit = str(retried(lambda: client.repo_info(repo, repo_type=_TYPE, revision=revision)).sha)
        entries = client.list_repo_tree(repo, below, recursive=True, revision=commit, repo_type=_TYPE)
        files: list[RepoFile] = []
        for entry in entries:
            if isinstance(entry, RepoFile):
                files.append(entry)
            if len(files) > most_files or sum(file.size for file in files) > most_bytes:
                raise HubError(
                    f"{repo} at {revision} has more below {below!r} than {most_files} files or "
                    f"{most_bytes} bytes; nothing was fetched."
                )
        for file in files:
            _copy(client, repo, commit, file.path, target)
    return commit


def added(repo: str, revision: str) -> tuple[frozenset[str], frozenset[str]]:
    """Paths of a dataset repository's revision that its main branch lacks, and those that differ there.

    Raises:
        HubError: no such repository or revision, or the Hub cannot be reached.
    """
    with hub_errors(repo, revision, _TYPE):
        client = api()
        main, other = (retried(partial(_blobs, client, repo, name)) for name in ("main", revision))
    changed = {path for path, blob in other.items() if path in main and main[path] != blob}
    return frozenset(other) - frozenset(main), frozenset(changed)


def _blobs(client: HfApi, repo: str, revision: str) -> dict[str, str]:
    entries = client.list_repo_tree(repo, recursive=True, revision=revision, repo_type=_TYPE)
    return {entry.path: entry.blob_id for entry in entries if isinstance(entry, RepoFile)}


def _copy(client: HfApi, repo: str, commit: str, name: str, target: Path) -> None:
    if not all(_PLAIN.fullmatch(part) for part in PurePosixPath(name).parts):
        raise HubError(f"{repo} has a file {name!r}, a name that is never written here.")
    path = Path(retried(lambda: client.hf_hub_download(repo, name, repo_type=_TYPE, revision=commit)))
    verify_download(path, repo)
    copy = target / name
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(path.read_bytes())


def require_writer(client: HfApi) -> None:
    """A login that may write, found out before anything is uploaded."""
    token = retried(client.whoami).get("auth", {}).get("accessToken", {})
    if token.get("role") == "read":
        raise HubError(
            "your token of the Hub may only read. Create one that may write at "
            "https://huggingface.co/settings/tokens and log in with `hf auth login`."
        )


def _proposed(client: HfApi, repo: str, title: str) -> str | None:
    for discussion in client.get_repo_discussions(repo, repo_type=_TYPE, discussion_type="pull_request"):
        if discussion.title == title:
            return discussion.url
    return None


def _open(client: HfApi, repo: str, files: Mapping[str, Path], title: str, description: str) -> str:
    operations = [CommitOperationAdd(name, path) for name, path in files.items()]
    try:
        commit = client.create_commit(
            repo,
            operations,
            commit_message=title,
            commit_description=description,
            repo_type=_TYPE,
            create_pr=True,
        )
    except RuntimeError as error:  # what huggingface_hub makes of a failed upload; the cause says why
        if isinstance(error.__cause__, TransportError):
            raise error.__cause__ from error
        raise HubError(f"the upload to {repo} failed: {error}. Try again.") from error
    return commit.pr_url or commit.commit_url
