"""Takes a reviewed contribution into the corpus: `python -m training.corpus accept`."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from fms_hub.corpus.schema import CandidateRow, Fault, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.corpus.wholefile import write_whole
from training.corpus import hostile
from training.corpus.apart import review_apart
from training.corpus.gate import Admitted
from training.corpus.review import Surprise, Verdict, judge, known_rows, opened
from training.corpus.runlog import rows_of

R = TypeVar("R", TaskRow, CandidateRow)
VERDICTS = "verdicts"
"""Folder beside the shards with one verdict for each contribution that was taken in."""


def review(source: str, corpus: Path | None = None, surprise: Surprise | None = None) -> Verdict:
    """Judge a folder or a pull request.

    Args:
        source: a folder, or ``ORGANISATION/NAME#NUMBER``.
        corpus: folder of shards that it would become a part of.
        surprise: see `training.corpus.review.Surprise`.

    Raises:
        HubError: the pull request cannot be fetched.
    """
    return _reviewed(source, corpus, surprise)[0]


def accept(source: str, corpus: Path, surprise: Surprise | None = None) -> Verdict:
    """Judge a folder or a pull request and append the runs that are new as a shard.

    Raises:
        HubError: the pull request cannot be fetched.
        StorageError: the disk is full.
    """
    verdict, found = _reviewed(source, corpus, surprise)
    if found is not None:
        _append(found, verdict, corpus)
    return verdict


def _reviewed(source: str, corpus: Path | None, surprise: Surprise | None) -> tuple[Verdict, Admitted | None]:
    try:
        with opened(source) as (folder, notes):
            verdict = review_apart(folder, corpus, source)
            if not verdict.accepted:
                return verdict, None
            # What came through apart is read again here: the bytes that are judged are those that are used.
            verdict, found = judge(hostile.read_files(folder), known_rows(corpus), source, surprise)
    except Fault as fault:
        return Verdict("", source, False, (str(fault),)), None
    return Verdict(**{**vars(verdict), "notes": (*notes, *verdict.notes)}), found


def _append(found: Admitted, verdict: Verdict, corpus: Path) -> None:
    """The tables' own rows stand; tasks are added before the shard that needs them."""
    frame = found.frame[found.frame.run.isin(set(verdict.fresh))]
    _add_unknown(corpus, TaskRow, [task for task in found.tasks if task.name in set(frame.task)])
    _add_unknown(corpus, CandidateRow, [row for row in found.candidates if row.name in set(frame.candidate)])
    write_shard(corpus, list(rows_of(frame)), found.graphs.chosen(frame.sketch.dropna()))
    folder = corpus / VERDICTS
    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{verdict.contribution}.json", verdict.to_json().encode())


def _add_unknown(corpus: Path, kind: type[R], rows: list[R]) -> None:
    known = {row.name for row in read_table(corpus, kind)}
    add_rows(corpus, kind, [row for row in rows if row.name not in known])
