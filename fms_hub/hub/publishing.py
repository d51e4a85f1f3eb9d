"""Publishing a folder as a model repository of the Hub, through the door in `fms_hub.hub.client`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from fms_hub.errors import HubError
from fms_hub.hub.client import api, look_up
from fms_hub.hub.pull_requests import require_writer
from fms_hub.hub.refusals import hub_errors, retried


@dataclass(frozen=True)
class Published:
    """What a repository has now.

    Attributes:
        commit: 40 hexadecimal digits.
        address: its page.
        tag: that names it, or None.
    """

    commit: str
    address: str
    tag: str | None


def publish(
    repo: str,
    folder: Path,
    *,
    message: str,
    tag: str | None = None,
    private: bool = False,
    keep: Collection[str] = (),
) -> Published:
    """Put the files of a folder into a model repository, as one commit; publishing the same again adds none.

    Args:
        repo: ``"organisation/name"``; made if absent.
        folder: all of its files are sent.
        message: of the commit.
        tag: a name for the commit.
        private: whether a new repository is.
        keep: names of files that stay as they are where the repository has them.

    Raises:
        HubError: there is no login or it may not write, or the tag names another commit already.
        Unreachable: the Hub cannot be reached.
    """
    with hub_errors(repo):
        client = api()
        require_writer(client)
        retried(lambda: client.create_repo(repo, private=private, exist_ok=True))
        before = look_up(repo)
        tagged = _tags(repo).get(tag) if tag is not None else None
        if tagged not in (None, before.commit):
            raise HubError(f"{repo} has a tag {tag!r} already, at commit {str(tagged)[:12]}. Choose another.")
        kept = [name for name in keep if name in before.sizes]
        done = retried(
            lambda: client.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=message, ignore_patterns=kept
            )
        )
        commit, address = str(done.oid), str(done.commit_url)
        if tag is not None:
            if tagged is not None and commit != tagged:
                raise HubError(
                    f"{repo} has a tag {tag!r} already, at commit {tagged[:12]}; the files are there as "
                    f"commit {commit[:12]}, without a tag. Choose another."
                )
            retried(lambda: client.create_tag(repo, tag=tag, revision=commit, exist_ok=True))
    return Published(commit, address, tag)


def _tags(repo: str) -> dict[str, str]:
    refs = retried(lambda: api().list_repo_refs(repo))
    return {ref.name: ref.target_commit for ref in refs.tags}
