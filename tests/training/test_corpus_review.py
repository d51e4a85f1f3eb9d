"""Contributions are judged: what is right is taken in, what the corpus has or contradicts is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from contributions import RUNS, Parcel, candidates, row, task
from hostilities import (
    NOTHING,
    PARCEL,
    faults,
)

from fms_hub.corpus.outbox import contents, identity
from fms_hub.corpus.schema import CandidateRow, Fault, Row, TaskRow, to_table
from fms_hub.corpus.shards import read_corpus
from fms_hub.corpus.tables import read_table
from training.corpus import gate, hostile
from training.corpus.accept import accept, review
from training.corpus.apart import review_apart
from training.corpus.review import Doubts, Verdict, judge


def write(parcel: Parcel, folder: Path) -> Path:
    for name, content in parcel.files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def test_what_is_right_is_accepted_and_comes_through_as_it_was_sent() -> None:
    verdict, found = judge(PARCEL.files(), NOTHING, "somewhere")
    assert verdict.accepted and verdict.faults == () and verdict.source == "somewhere"
    assert (verdict.rows, verdict.runs, verdict.fresh) == (6, 3, RUNS)
    assert verdict.bytes == sum(map(len, PARCEL.files().values()))
    assert found is not None and list(found.graphs) == [f"{RUNS[0]}/1"]
    assert found.tasks == (TaskRow(**task()),)
    assert found.candidates == tuple(CandidateRow(**item) for item in candidates())
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_the_id_is_that_of_the_outbox(tmp_path: Path) -> None:
    assert gate.identity(PARCEL.files()) == identity(contents(write(PARCEL, tmp_path)))


def test_runs_begin_at_the_beginning_and_tables_name_everything_once() -> None:
    assert faults(PARCEL.but(rows=PARCEL.rows[3:] + PARCEL.rows[:2])) == (
        "a run that does not begin with its first epoch",
    )
    assert faults(PARCEL.but(tasks=[task(), task()])) == (
        "the tasks of the rows are not those that are described",
    )
    assert faults(PARCEL.but(candidates=candidates()[:2])) == (
        "the candidates of the rows are not those that are described",
    )


def test_a_copy_of_a_run_is_not_taken_twice() -> None:
    copied = [{**found, "run": "f" * 16, "candidate": "org/net@v1.0"} for found in PARCEL.rows[2:3]]
    verdict, _ = judge(PARCEL.but(rows=[*PARCEL.rows, *copied]).files(), NOTHING)
    assert (verdict.fresh, verdict.notes) == (RUNS, (f"run {'f' * 16} is a copy of run {RUNS[1]}",))
    known = to_table([Row(**found) for found in PARCEL.rows], Row).to_pandas()
    alone = PARCEL.but(rows=[*PARCEL.rows[:1], *PARCEL.rows[4:], *copied])
    assert judge(alone.but(candidates=[PARCEL.candidates[0], PARCEL.candidates[2]]).files(), known)[
        0
    ].faults == ("the corpus has all of its runs already",)


def test_what_the_corpus_has_is_passed_over_and_what_contradicts_it_refused() -> None:
    known = to_table([Row(**found) for found in PARCEL.rows[:3]], Row).to_pandas()
    verdict, _ = judge(PARCEL.files(), known)
    assert verdict.accepted and verdict.fresh == RUNS[2:]
    assert verdict.notes[0] == f"run {RUNS[0]} is in the corpus already, with 2 epochs"
    whole = to_table([Row(**found) for found in PARCEL.rows], Row).to_pandas()
    shorter = [*PARCEL.rows[:1], *PARCEL.rows[2:4], row(2, 1, run="f" * 16, train_loss=0.7)]
    assert judge(PARCEL.but(rows=shorter).files(), whole)[0].fresh == ("f" * 16,)
    verdict, _ = judge(PARCEL.with_row(0, validation_score=0.26).files(), known)
    assert verdict.faults == (f"run {RUNS[0]} is in the corpus with other numbers",)


def test_a_surprise_is_a_fault() -> None:
    def surprise(found: gate.Admitted) -> Doubts:
        return Doubts((f"{len(found.frame)} rows that nobody expects",), ("a note",))

    verdict, found = judge(PARCEL.files(), NOTHING, surprise=surprise)
    assert (verdict.accepted, verdict.faults, found) == (False, ("6 rows that nobody expects",), None)
    assert verdict.notes == ("a note",)
    verdict, found = judge(PARCEL.files(), NOTHING, surprise=lambda found: Doubts(notes=("a note",)))
    assert verdict.accepted and verdict.notes == ("a note",) and found is not None


def test_links_and_large_files_on_the_disk_are_refused(tmp_path: Path) -> None:
    folder = write(PARCEL, tmp_path / "good")
    assert hostile.read_files(folder) == PARCEL.files()
    (folder / "tasks.parquet").unlink()
    (folder / "tasks.parquet").symlink_to("/etc/passwd")
    with pytest.raises(Fault, match=r"'tasks\.parquet' is no plain file"):
        hostile.read_files(folder)
    (folder / "tasks.parquet").unlink()
    os.mkfifo(folder / "tasks.parquet")
    with pytest.raises(Fault, match="no plain file"):
        hostile.read_files(folder)
    (folder / "tasks.parquet").unlink()
    with (folder / "tasks.parquet").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(Fault, match="more than 1048576"):
        hostile.read_files(folder)
    (folder / "tasks.parquet").unlink()
    (folder / "structures" / "deeper").mkdir()
    with pytest.raises(Fault, match="no plain file"):
        hostile.read_files(folder)
    with pytest.raises(Fault, match="cannot be read"):
        hostile.read_files(tmp_path / "absent")


def test_a_review_in_a_process_of_its_own_ends_whatever_happens(tmp_path: Path) -> None:
    folder = write(PARCEL, tmp_path / "good")
    corpus = tmp_path / "corpus"
    verdict = accept(str(folder), corpus)
    assert verdict.accepted and verdict.fresh == RUNS
    taken = read_corpus(corpus)
    assert taken.refused == () and len(taken.rows) == 6 and list(taken.graphs) == [f"{RUNS[0]}/1"]
    assert read_table(corpus, TaskRow) == [TaskRow(**task())]
    assert len(read_table(corpus, CandidateRow)) == 3
    slow = review_apart(folder, None, "there", seconds=0.01)
    assert slow.faults == ("reviewing it took more than 0.01 seconds",)
    again = review(str(folder), corpus)
    assert again.faults == ("the corpus has all of its runs already",)
