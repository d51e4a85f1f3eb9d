"""Giving back: what a search learned, as a pull request on a corpus; a dry run unless it is confirmed.

A contribution is written to this disk first (`fms_hub.corpus.outbox`), in the corpus' own format and with
an allow-list of what it may say (`fms_hub.corpus.redaction`, `fms_hub.corpus.grammar`). What is sent is
exactly these files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from fms_hub.corpus import gather, grammar, manifest, outbox
from fms_hub.corpus.gather import Given
from fms_hub.corpus.outbox import Parcel
from fms_hub.corpus.redaction import Redactor, bundled_names
from fms_hub.corpus.salt import machine_salt
from fms_hub.errors import CheckpointError, HubError, Unreachable, UsageError
from fms_hub.hub.about import About, read_about
from fms_hub.hub.logbook import read_identity

FOLDER: Final = "contributions"
"""Where contributions lie in a corpus' repository."""
_REPO: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN: Final = 12


class Searched(Protocol):
    """A finished search, e.g. `fms_hub.search.selection.Selection`."""

    out: Path


@dataclass(frozen=True)
class Contribution:
    """What is given, or would be.

    Attributes:
        id: hash of its content.
        folder: the files, exactly as they are sent.
        rows, runs, sketches: how many; a row is one epoch.
        bytes: of all files.
        licence: what they are given under.
        destination: dataset repository, ``"organisation/name"``.
        sent: whether the repository has it, from now or before.
        pull_request: its address there, or None.
        why: why it was not sent although that was asked for, or None; it waits in the outbox then.
        preview: what would be sent, in words.
    """

    id: str
    folder: Path
    rows: int
    runs: int
    sketches: int
    bytes: int
    licence: str
    destination: str
    sent: bool
    pull_request: str | None
    why: str | None
    preview: str

    def to_json(self) -> dict[str, Any]:
        """What the command line prints with ``--json``."""
        names = ("rows", "bytes", "licence", "destination", "sent", "pull_request")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Sent:
    """What became of one contribution that waited in the outbox.

    Attributes:
        id, destination: of the contribution.
        rows, bytes: of it; 0 where they cannot be read.
        pull_request: its address, or None.
        why: why it is still here, or None.
    """

    id: str
    destination: str
    rows: int
    bytes: int
    pull_request: str | None
    why: str | None

    def to_json(self) -> dict[str, Any]:
        """What the command line prints with ``--json``, as of a `Contribution`."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "licence": grammar.LICENCE,
            "destination": self.destination,
            "sent": self.pull_request is not None,
            "pull_request": self.pull_request,
        }


def contribute(
    search: Searched | str | os.PathLike[str], repo: str, *, yes: bool = False, weights_sketches: bool = True
) -> Contribution:
    """Give what a search learned to a corpus on the Hub, without giving away what is yours.

    Written and shown are: one row an epoch (hyperparameters, scores, losses, seconds), coarse numbers of the
    task, and sketches of checkpoints. Never: images, weights, class names, names of datasets, paths, hosts,
    user names; candidates that not everybody can fetch are hashes of their content (the Hub is asked, without
    a login, which those are). Nothing is sent without ``yes``; sending the same twice sends it once.

    Args:
        search: what `fms_hub.select` returned, or its folder.
        repo: dataset repository that takes contributions, ``"organisation/name"``.
        yes: open the pull request. Where that fails for now, the contribution waits in the outbox, see
            `flush`.
        weights_sketches: whether sketches of the checkpoints are given, too: fixed-size statistics of their
            weights after the first, fourth and last epoch of each run.

    Returns:
        What was, or would be, sent.

    Raises:
        UsageError: the folder is no search's, has no epochs or something that cannot be said, or the
            repository's name is none.
        CheckpointError: the search's folder is damaged, or its sketches are of another version.
        HubError: the Hub refused for good: no login, no such repository.
        StorageError: the disk is full.
    """
    if not _REPO.fullmatch(repo):
        raise UsageError(f"a repository is named 'organisation/name', found {repo!r}.")
    folder = Path(search) if isinstance(search, str | os.PathLike) else search.out
    identity, about = read_identity(folder), read_about(folder)
    public, unasked = _public(about)
    redactor = Redactor(about, identity, machine_salt(), public)
    given = gather.gather(folder, redactor, sketches=weights_sketches)
    gather.check(given)
    parcel = outbox.put(lambda target: gather.write(given, target))
    preview = _preview(given, parcel, repo, unasked)
    print(preview, file=sys.stderr)
    address, why = _send(parcel, repo) if yes else (parcel.state().sent.get(repo), None)
    return Contribution(
        id=parcel.id,
        folder=parcel.files,
        rows=len(given.rows),
        runs=given.runs,
        sketches=len(given.graphs),
        bytes=_bytes(parcel),
        licence=grammar.LICENCE,
        destination=repo,
        sent=address is not None,
        pull_request=address,
        why=why,
        preview=preview,
    )


def flush() -> tuple[Sent, ...]:
    """Send what waits in the outbox; one that fails keeps none of the others from being sent.

    Returns:
        One entry for each contribution and repository; none where nothing waited.

    Raises:
        StorageError: the outbox cannot be written.
    """
    return tuple(sent for parcel in outbox.parcels() for sent in _flushed(parcel))


def _flushed(parcel: Parcel) -> Iterator[Sent]:
    try:
        waiting, rows, size = parcel.state().waiting, _rows(parcel), _bytes(parcel)
    except CheckpointError as error:
        yield Sent(parcel.id, "", 0, 0, None, str(error))
        return
    for repo in waiting:
        try:
            yield Sent(parcel.id, repo, rows, size, _push(parcel, repo), None)
        except HubError as error:
            yield Sent(parcel.id, repo, rows, size, None, str(error))


def _send(parcel: Parcel, repo: str) -> tuple[str | None, str | None]:
    """Send now, or leave it waiting where the Hub cannot be reached: its address, or why it has none."""
    parcel.wait_for(repo)
    try:
        return _push(parcel, repo), None
    except Unreachable as error:
        print(f"{error} It waits in the outbox; `fms-hub contribute --flush` sends it.", file=sys.stderr)
        return None, str(error)
    except HubError:
        parcel.forget(repo)
        raise


def _push(parcel: Parcel, repo: str) -> str:
    """Address of the pull request; one that is known here or there is not opened again."""
    from fms_hub.hub import pull_requests

    known = parcel.state().sent.get(repo)
    if known is not None:
        parcel.mark_sent(repo, known)
        return known
    files = {f"{FOLDER}/{parcel.id}/{name}": path for name, path in parcel.contents().items()}
    address = pull_requests.propose(
        repo, files, title=f"Contribution {parcel.id}", description=f"Licence: {grammar.LICENCE}"
    )
    parcel.mark_sent(repo, address)
    return address


def _public(about: About) -> tuple[frozenset[str], int]:
    """Names of candidates that anyone can fetch, and for how many the Hub could not be asked."""
    bundled = bundled_names()
    public = {c.name for c in about.candidates if c.name in bundled or (c.source == "scratch" and c.family)}
    asked = [c for c in about.candidates if c.repo is not None and c.name not in public]
    if not asked:
        return frozenset(public), 0
    from fms_hub.hub import pull_requests

    for number, candidate in enumerate(asked):
        try:
            if pull_requests.is_public(str(candidate.repo)):
                public.add(candidate.name)
        except HubError:
            return frozenset(public), len(asked) - number
    return frozenset(public), 0


def _rows(parcel: Parcel) -> int:
    return sum(entry.rows for entry in manifest.read(parcel.files)[0])


def _bytes(parcel: Parcel) -> int:
    return sum(path.stat().st_size for path in parcel.contents().values())


def _preview(given: Given, parcel: Parcel, repo: str, unasked: int) -> str:
    columns = ("run", "candidate", "epoch", "validation_score", "train_loss", "seconds", "hyperparameters")
    shown = [[str(getattr(row, name)) for name in columns] for row in given.rows[:_SHOWN]]
    lines = [
        f"contribution {parcel.id} to {repo}, as a pull request",
        f"  rows      {len(given.rows)} epochs of {given.runs} runs, with {len(given.graphs)} sketches",
        f"  bytes     {_bytes(parcel)} in {len(parcel.contents())} files",
        f"  licence   {grammar.LICENCE}",
        f"  task      {given.task.name}: {given.task.classes} classes, about {given.task.train} images",
        f"  hidden    {given.hidden} of {len(given.candidates)} candidates are hashes of their content",
        f"  look at   {parcel.files}",
    ]
    if given.forks:
        lines.append(f"  left out  {given.forks} runs that went on from another run's checkpoint")
    if unasked:
        lines.append(f"  (the Hub cannot be asked whether {unasked} of them are public)")
    lines += ["", "  " + "  ".join(columns), *("  " + "  ".join(row) for row in shown)]
    if len(given.rows) > _SHOWN:
        lines.append(f"  ... and {len(given.rows) - _SHOWN} more rows")
    return "\n".join(lines)
