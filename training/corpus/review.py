"""Judges a contribution before it becomes part of the corpus: `python -m training.corpus review`.

First the files themselves (`training.corpus.gate`), in a process of their own with bounded memory and time;
then what the corpus has already; then, where one is given, what a surrogate expects.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from fms_hub.corpus.contribute import FOLDER
from fms_hub.corpus.schema import Fault, Row, to_table
from fms_hub.corpus.shards import read_corpus
from training.corpus import hostile
from training.corpus.gate import Admitted, admit

_PULL: Final = re.compile(r"([^/#@]+/[^/#@]+)(?:#|@refs/pr/)(\d+)")
_INSIDE: Final = re.compile(rf"({FOLDER}/[0-9a-f]{{16}})/.+")
_SAID: Final = [
    "run",
    "epoch",
    "horizon",
    "hyperparameters",
    "seed",
    "status",
    "validation_score",
    "train_loss",
]
"""What does not change when a search goes on and is contributed once more."""


@dataclass(frozen=True)
class Doubts:
    """What is suspicious about a well-formed contribution.

    Attributes:
        faults: for which it is refused.
        notes: worth a look.
    """

    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Surprise = Callable[[Admitted], Doubts]
"""A second opinion, e.g. of a surrogate that does not expect such scores (`training.corpus.surprise`)."""


@dataclass(frozen=True)
class Verdict:
    """What became of a contribution.

    Attributes:
        contribution: hash of its content, empty where it could not be read.
        source: where it came from.
        accepted: whether nothing is wrong with it.
        faults: what is wrong, in words.
        notes: what is worth a look, but no fault.
        rows, runs, bytes: of it, 0 where it could not be read.
        fresh: ids of runs that the corpus does not have.
    """

    contribution: str
    source: str
    accepted: bool
    faults: tuple[str, ...]
    notes: tuple[str, ...] = ()
    rows: int = 0
    runs: int = 0
    bytes: int = 0
    fresh: tuple[str, ...] = ()

    def to_json(self) -> str:
        """On one line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Verdict:
        """What `to_json` wrote."""
        raw = json.loads(text)
        lists = {name: tuple(raw[name]) for name in ("faults", "notes", "fresh")}
        return cls(**{**raw, **lists})


def judge(
    files: Mapping[str, bytes], known: pd.DataFrame, source: str = "", surprise: Surprise | None = None
) -> tuple[Verdict, Admitted | None]:
    """Review files in memory.

    Args:
        files: by their names below the contribution's folder.
        known: rows of the corpus, columns as in `Row`.
        source: where they came from.
        surprise: asked last, about what is well-formed.

    Returns:
        The verdict, and what was admitted where it is accepted.
    """
    try:
        found = admit(files)
        fresh, notes = _compare(found.frame, known)
    except Fault as fault:
        return Verdict("", source, False, (str(fault),)), None
    doubts = surprise(found) if surprise is not None else Doubts()
    verdict = Verdict(
        contribution=found.id,
        source=source,
        accepted=not doubts.faults,
        faults=doubts.faults,
        notes=(*notes, *doubts.notes),
        rows=len(found.frame),
        runs=int(found.frame.run.nunique()),
        bytes=found.bytes,
        fresh=fresh,
    )
    return verdict, found if verdict.accepted else None


def _compare(frame: pd.DataFrame, known: pd.DataFrame) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ids of runs that are new, and notes on those that are not.

    Raises:
        Fault: a run that the corpus has with other numbers, or nothing new.
    """
    given, there = _runs(frame), _runs(known)
    first = {_beginning(rows): run for run, rows in there.items()}
    fresh, notes = [], []
    for run, rows in given.items():
        before = there.get(run)
        if before is not None and before[: len(rows)] != rows[: len(before)]:
            raise Fault(f"run {run} is in the corpus with other numbers")
        same = first.setdefault(_beginning(rows), run)
        if before is not None:
            notes.append(f"run {run} is in the corpus already, with {len(before)} epochs")
        elif same != run and rows[0][_SAID.index("train_loss")] is not None:
            notes.append(f"run {run} is a copy of run {same}")
        else:
            fresh.append(run)
    if not fresh:
        raise Fault("the corpus has all of its runs already")
    return tuple(fresh), tuple(notes)


def _runs(frame: pd.DataFrame) -> dict[str, list[tuple[Any, ...]]]:
    plain = frame[_SAID].astype(object).where(frame[_SAID].notna(), None)
    runs: dict[str, list[tuple[Any, ...]]] = {}
    for row in plain.itertuples(index=False, name=None):
        runs.setdefault(row[0], []).append(row)
    return runs


def _beginning(rows: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """What two different runs do not have in common: settings, and score and loss of the first epoch.

    The candidate is left out, because it may be said in two ways.
    """
    names = ("hyperparameters", "horizon", "seed", "validation_score", "train_loss")
    return tuple(rows[0][_SAID.index(name)] for name in names)


@contextmanager
def opened(source: str) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """The folder of a contribution, and what its pull request does besides.

    Args:
        source: a folder, or ``ORGANISATION/NAME#NUMBER`` of a pull request.

    Raises:
        Fault: the pull request adds something else than one contribution.
        HubError: it cannot be fetched.
    """
    match = _PULL.fullmatch(source)
    if match is None or Path(source).is_dir():
        yield Path(source), ()
        return
    from fms_hub.hub import pull_requests

    repo, revision = match[1], f"refs/pr/{match[2]}"
    new, changed = pull_requests.added(repo, revision)
    inside = {found[1] if (found := _INSIDE.fullmatch(path)) else "" for path in new}
    if len(inside) != 1 or "" in inside:
        raise Fault(f"the pull request adds something else than one folder below {FOLDER}")
    notes = tuple(f"the pull request changes {path[:80]!r}" for path in sorted(changed)[:5])
    with tempfile.TemporaryDirectory() as scratch:
        below = inside.pop()
        limits = {"most_files": hostile.MOST_FILES, "most_bytes": hostile.MOST_BYTES}
        pull_requests.fetch_proposal(repo, revision, below, Path(scratch), **limits)
        yield Path(scratch) / below, notes


def known_rows(corpus: Path | None) -> pd.DataFrame:
    """Rows that the corpus has; none where there is no folder."""
    return to_table([], Row).to_pandas() if corpus is None else read_corpus(corpus).rows
