"""Contributions as hostile input: what is wrong is refused in words, what is right is taken in."""

from __future__ import annotations

import copy
import gzip
import hashlib
import io
import json
import math
import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from contributions import RUNS, TASK, Parcel, candidates, parquet, row, task
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fms_hub.corpus.outbox import contents, identity
from fms_hub.corpus.schema import CandidateRow, Fault, Row, TaskRow, arrow_schema, to_table
from fms_hub.corpus.shards import read_corpus
from fms_hub.corpus.tables import read_table
from fms_hub.weights.describe import describe
from training.corpus import gate, hostile
from training.corpus.accept import accept, review
from training.corpus.apart import review_apart
from training.corpus.review import Doubts, Verdict, judge
from training.corpus.small_net import PIXELS, SmallCNN

NOTHING = to_table([], Row).to_pandas()
PARCEL = Parcel.of(describe(SmallCNN(10), (1, PIXELS, PIXELS)))


def faults(parcel: Parcel) -> tuple[str, ...]:
    return judge(parcel.files(), NOTHING)[0].faults


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


LONG = "a" * 5000
BAD_VALUES: dict[str, list[Any]] = {
    "run": ["", "x", "../../etc/passwd", "G" * 16, RUNS[0].upper(), "0" * 17, "\0" * 16],
    "hub": ["timm-tiny", "", "contributed ", "../contributed"],
    "task": ["mnist", f"../{TASK}", TASK + "0", "task-00112233445566AA", "task-ffffffffffffffff"],
    "candidate": [
        "/etc/passwd", "../x", "local-dir:/home/x", "a/b/c", "private-1", "bundled/../../x", "bundled/absent",
        "x" * 300, "org/net@", "org/ne t", "scratch:", "-org/net",
    ],
    "hyperparameters": [
        "", "[]", "null", "3", '"x"', "{", '{"learning_rate": NaN}', '{"learning_rate": 1e999}',
        '{"learning_rate": -1}', '{"learning_rate": "0.1"}', '{"learning_rate": {"a": 1}}', '{"path": 1}',
        '{"learning_rate": [1]}', '{"learning_rate": 1, "learning_rate": 2}', "[" * 3000, '{"a":' * 600 + "1",
        '{"optimizer": "rm -rf"}', '{"batch_size": 2.5}', '{"x-01234567": "words"}', '{"x-0123": 1}',
        '{"x-01234567": 1' + "0" * 3000 + "}", '{"batch_size": true}', '{"x-01234567": null}', LONG,
    ],
    "epoch": [0, -1, 3, 5, 2**62, -(2**63)],
    "horizon": [0, -1, 1, 3, 2**62],
    "seed": [-1, 2**31, 2**62, 8],
    "train_loss": [math.nan, math.inf, -math.inf, -1e-9, 1e300],
    "validation_score": [math.nan, math.inf, -1e-9, 1.0 + 1e-9, None],
    "test_score": [math.nan, 2.0, -0.1, 0.5],
    "seconds": [math.nan, math.inf, -1.0, 0.0, 1e-9, 1e-4, 1e9],
    "device": ["", "alice-laptop", "cpu ", LONG],
    "status": ["", "fine", "failed", "OK"],
    "reason": ["", "diverged", "because alice said so"],
    "sketch": [f"{RUNS[1]}/1", f"{RUNS[0]}/2", "../x", ""],
}  # fmt: skip
"""Wrong in the first row, whatever else is right."""

BAD_TASKS: dict[str, list[Any]] = {
    "hub": ["x"], "name": ["mnist", "../x"], "group": ["mnist", ""], "classes": [1, 0, -5, 2**60],
    "images": [5], "train": [-1, 2**60], "validation": [-1], "test": [-1, 2**62],
    "image_size": [0, -1, 2**40],
    "metric": ["auc", ""], "fingerprint": ["", "ab", "/home/alice"], "licence": ["mine", LONG],
    "source": ["alice", ""], "features": [{}, {"log_images": math.nan}, {"log_images": 1e9}],
}  # fmt: skip
BAD_CANDIDATES: dict[str, list[Any]] = {
    "name": ["x", "../x", "private-ffffffffffffffff"], "architecture": ["", "a b", LONG, "resnet50"],
    "family": ["", "/x", "a b"], "source": ["", "a/b"], "epochs": [-1, 2**60, 99],
    "accuracy": [-0.1, 1.1, math.nan, 0.1],
    "parameters": [-1, 2**60, 1], "licence": ["\n", LONG, "mine"], "research_only": [True],
}  # fmt: skip
"""Wrong for the first candidate, which is one of the package's."""


@pytest.mark.parametrize("column", BAD_VALUES)
def test_every_bad_value_of_a_row_is_refused(column: str) -> None:
    for value in BAD_VALUES[column]:
        changes = {column: value}
        try:
            found = faults(PARCEL.with_row(0, **changes))
        except (pa.ArrowException, OverflowError):
            continue  # no table can hold it
        assert found, f"{column} = {value!r}"
        assert LONG not in found[0] and len(found[0]) < 300


@pytest.mark.parametrize(("part", "bad"), [("tasks", BAD_TASKS), ("candidates", BAD_CANDIDATES)])
def test_every_bad_value_beside_the_rows_is_refused(part: str, bad: dict[str, list[Any]]) -> None:
    for column, values in bad.items():
        for value in values:
            rows = copy.deepcopy(getattr(PARCEL, part))
            rows[0][column] = value
            assert faults(PARCEL.but(**{part: rows})), f"{column} = {value!r}"


def retyped(table: pa.Table, column: str, kind: str) -> pa.Table:
    """The table with a column of another type, name or place."""
    at, values = table.column_names.index(column), table[column].to_pylist()
    others: dict[str, Callable[[], pa.Array]] = {
        "list": lambda: pa.array([[value] for value in values]),
        "struct": lambda: pa.array([{"a": value} for value in values]),
        "text": lambda: pa.array([str(value) for value in values], pa.large_string()),
        "bytes": lambda: pa.array([str(value).encode() for value in values]),
        "short": lambda: pa.array([1] * len(values), pa.int32()),
        "nulls": lambda: pa.nulls(len(values)),
        "map": lambda: pa.array([[("a", 1)]] * len(values), pa.map_(pa.string(), pa.int64())),
        "deep": lambda: pa.array([[[[[1]]]]] * len(values)),
    }
    if kind == "gone":
        return table.drop_columns([column])
    if kind == "twice":
        return table.append_column(column, table[column])
    if kind == "renamed":
        return table.rename_columns([f"{name}_" if name == column else name for name in table.column_names])
    return table.set_column(at, column, others[kind]())


KINDS = ("list", "struct", "text", "bytes", "short", "nulls", "map", "deep", "gone", "twice", "renamed")


def rows_table() -> pa.Table:
    return pa.Table.from_pylist(PARCEL.rows, schema=arrow_schema(Row))


def test_a_table_of_other_columns_is_refused() -> None:
    for column in Row.__dataclass_fields__:
        for kind in KINDS:
            assert faults(PARCEL.but(rows=retyped(rows_table(), column, kind))), f"{column} {kind}"


def sketch_of(raw: bytes) -> bytes:
    return zlib.compress(raw, 9)


SKETCHES: dict[str, bytes] = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "cut": PARCEL.sketch[:-5],
    "other version": sketch_of(b"\x01" + zlib.decompress(PARCEL.sketch)[1:]),
    "other network": sketch_of(zlib.decompress(PARCEL.sketch)[:1] + struct.pack("<H", 9) + bytes(9)),
    "bomb": sketch_of(bytes(2**26)),
    "infinite": sketch_of(
        (raw := zlib.decompress(PARCEL.sketch))[:9] + struct.pack("<e", math.inf) * 200 + raw[409:]
    ),
}


@pytest.mark.parametrize("kind", SKETCHES)
def test_a_bad_sketch_is_refused(kind: str) -> None:
    assert faults(PARCEL.but(sketch=SKETCHES[kind]))


def restructured(change: Callable[[dict[str, Any]], Any]) -> bytes:
    raw = json.loads(PARCEL.structure)
    return json.dumps(change(raw) or raw, separators=(",", ":")).encode()


STRUCTURES: dict[str, bytes] = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "nested": b"[" * 10**6,
    "words": PARCEL.structure.replace(b'"t0"', b'"alice"'),
    "reason": restructured(lambda raw: raw.update(reason="/home/alice")),
    "sizes": restructured(lambda raw: raw.update(parameters=10**400)),
    "fan": restructured(lambda raw: raw["nodes"][1].__setitem__(4, 10**30)),
    "edges": restructured(lambda raw: raw.update(edges=[[0, 999]])),
    "node missing": restructured(lambda raw: raw["nodes"].pop()),
    "twice": PARCEL.structure.replace(b'{"nodes"', b'{"rung":"meta","nodes"'),
}


@pytest.mark.parametrize("kind", STRUCTURES)
def test_a_bad_structure_is_refused(kind: str) -> None:
    assert STRUCTURES[kind] != PARCEL.structure
    assert faults(PARCEL.but(structure=STRUCTURES[kind]))


def test_a_structure_that_unpacks_to_gigabytes_is_refused() -> None:
    (name,) = [name for name in PARCEL.files() if name.startswith("structures/")]
    bomb = gzip.compress(bytes(2**27))
    assert len(bomb) < 200_000
    (fault,) = faults(PARCEL.but(extra={name: bomb}))
    assert "unpacks to more" in fault


NAMES = [
    "../evil.parquet", "/etc/passwd", "structures/../../x", "evil.py", "shard-0.parquet", "a\0b", ".lock",
    "structures/0/1.json.gz", "shard-000000000000.parquet", "tasks.parquet.partial",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_another_name_is_refused(name: str) -> None:
    assert faults(PARCEL.but(extra={name: b"x"}))


ENTRIES: list[dict[str, Any]] = [
    {"schema_version": 1}, {"schema_version": 2.0}, {"schema_version": True}, {"shard": "../x"}, {"shard": 3},
    {"runs": []}, {"runs": "abc"}, {"runs": [1, 2, 3]}, {"rows": 7}, {"rows": "6"}, {"rows": -1},
    {"payload": "pickle"}, {"payload": ["packed"]}, {"sketch_version": 99}, {"files": {}}, {"files": []},
    {"files": {"../../x": "00"}}, {"more": 1}, {"runs": list(RUNS[::-1])}, {"shard": "shard-000000000000"},
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_a_bad_manifest_is_refused(number: int) -> None:
    assert faults(PARCEL.but(entry=ENTRIES[number]))


@pytest.mark.parametrize("content", [None, b"", b"\n", b"{}\n", b"[" * 10**5 + b"\n", b"\xff\n", b"{}\n{}\n"])
def test_a_manifest_that_is_none_is_refused(content: bytes | None) -> None:
    assert faults(PARCEL.but(extra={"manifest.jsonl": content}))


def test_a_shard_that_is_not_what_the_manifest_says_is_refused() -> None:
    files = PARCEL.files()
    for name in [name for name in files if name.startswith("shard-")]:
        for at in range(0, len(files[name]), 97):
            changed = bytearray(files[name])
            changed[at] ^= 1
            (fault,) = judge({**files, name: bytes(changed)}, NOTHING)[0].faults
            assert fault == f"{name} is not what the manifest says"


@pytest.mark.parametrize(("length", "why"), [(2**16, "of more than 4096 bytes"), (4096, "unpacks to more")])
def test_a_text_that_repeats_to_gigabytes_is_refused(length: int, why: str) -> None:
    """A word once in a dictionary, and its number in each of many rows: a small file."""
    count = 150_000
    words = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["w" * length]))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"word": words}), buffer, store_schema=False, compression="zstd")
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(Fault, match=why):
        hostile.read_parquet(buffer.getvalue(), pa.schema([("word", pa.string())]), "it")


def test_a_row_that_repeats_a_billion_times_is_refused() -> None:
    table = pa.table({"epoch": pa.array([1], pa.int64())})
    content = parquet(pa.concat_tables([table] * 10).combine_chunks().take(pa.array([0] * 300_000)))
    assert len(content) < 5000
    with pytest.raises(Fault, match="more than 200000 rows"):
        hostile.read_parquet(content, table.schema, "it")


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


# --- a thousand contributions


@st.composite
def broken(draw: st.DrawFn) -> Parcel:
    """A contribution with at least one thing wrong."""
    kind = draw(st.sampled_from(["row", "type", "task", "candidate", "sketch", "structure", "name", "entry"]))
    if kind == "row":
        column = draw(st.sampled_from(sorted(BAD_VALUES)))
        return PARCEL.with_row(0, **{column: draw(st.sampled_from(BAD_VALUES[column]))})
    if kind == "type":
        column = draw(st.sampled_from(sorted(Row.__dataclass_fields__)))
        return PARCEL.but(rows=retyped(rows_table(), column, draw(st.sampled_from(KINDS))))
    if kind in ("task", "candidate"):
        bad, part = (BAD_TASKS, "tasks") if kind == "task" else (BAD_CANDIDATES, "candidates")
        column = draw(st.sampled_from(sorted(bad)))
        rows = copy.deepcopy(getattr(PARCEL, part))
        rows[0][column] = draw(st.sampled_from(bad[column]))
        return PARCEL.but(**{part: rows})
    if kind == "sketch":
        return PARCEL.but(sketch=draw(st.binary(max_size=200) | st.sampled_from(sorted(SKETCHES.values()))))
    if kind == "structure":
        noise = st.binary(max_size=200) | st.sampled_from(sorted(STRUCTURES.values()))
        return PARCEL.but(structure=draw(noise))
    if kind == "name":
        name = draw(st.sampled_from(NAMES) | st.text(min_size=1, max_size=40).map(lambda text: f"../{text}"))
        return PARCEL.but(extra={name: draw(st.binary(max_size=20))})
    return PARCEL.but(entry=draw(st.sampled_from(ENTRIES)))


@st.composite
def sound(draw: st.DrawFn) -> Parcel:
    """A contribution with other values, all of them possible."""
    unit = st.floats(0.0, 1.0)
    setting = st.fixed_dictionaries(
        {"learning_rate": st.floats(1e-6, 1e3)},
        optional={"optimizer": st.sampled_from(["sgd", "adamw"]), "batch_size": st.integers(2, 65536),
                  "dropout": st.floats(0.0, 0.95), "x-00000000": st.booleans() | st.integers(-9, 9),
                  "x-aaaaaaaa": st.just("x-bbbbbbbb")},
    )  # fmt: skip
    text, seed = json.dumps(draw(setting)), draw(st.integers(0, 2**31 - 1))
    rows = [dict(found) for found in PARCEL.rows]
    for i in (0, 1):
        rows[i] |= {"hyperparameters": text, "seed": seed, "device": draw(st.sampled_from(["cpu", "cuda"]))}
        rows[i] |= {"validation_score": draw(unit), "train_loss": draw(st.floats(0.0, 1e12))}
        rows[i]["seconds"] = draw(st.none() | st.floats(0.01, 2e6))
    return PARCEL.but(rows=rows)


@st.composite
def noisy(draw: st.DrawFn) -> dict[str, bytes]:
    """Files with some bytes changed, the manifest's hashes as they were or right again."""
    files = dict(PARCEL.files())
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(sorted(files)))
        content = bytearray(files[name])
        if content:
            at = draw(st.integers(0, len(content) - 1))
            content[at : at + draw(st.integers(0, 2))] = draw(st.binary(min_size=1, max_size=3))
        files[name] = bytes(content)
    return _rehashed(files) if draw(st.booleans()) else files


def _rehashed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The shard named by its hash, and all hashes of the manifest right."""
    (old,) = [name for name in files if re.fullmatch(r"shard-[0-9a-f]{12}\.parquet", name)]
    shard = "shard-" + hashlib.sha256(files[old]).hexdigest()[:12]
    renamed = {name.replace(old.removesuffix(".parquet"), shard): data for name, data in files.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in renamed.items() if "shard-" in name}
    try:
        entry = json.loads(renamed["manifest.jsonl"])
    except ValueError:
        return renamed
    if isinstance(entry, dict):
        renamed["manifest.jsonl"] = json.dumps({**entry, "shard": shard, "files": digests}).encode() + b"\n"
    return renamed


def is_sound(found: gate.Admitted) -> bool:
    """The rules once more, row by row, by someone who knows nothing of the reviewer."""
    seen: dict[str, int] = {}
    for item in found.frame.to_dict("records"):
        run, number, score = item["run"], item["epoch"], item["validation_score"]
        values = json.loads(item["hyperparameters"]).values()
        good = [
            re.fullmatch("[0-9a-f]{16}", run),
            item["hub"] == "contributed",
            re.fullmatch("task-[0-9a-f]{16}", item["task"]),
            ".." not in item["candidate"],
            number == seen.get(run, 0) + 1 and number <= item["horizon"],
            (0 <= score <= 1) if item["status"] == "ok" else math.isnan(score),
            item["status"] in ("ok", "failed"),
            not any(isinstance(value, list | dict) for value in values),
            math.isnan(item["seconds"]) or 0 <= item["seconds"] < 1e7,
            item["device"] in ("cpu", "cuda", "mps", "xpu", "other"),
        ]
        seen[run] = number
        if not all(good):
            return False
    return all(math.isfinite(float(graph.x.sum())) for graph in found.graphs.values())


@settings(max_examples=550, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(broken())
def test_nothing_that_is_wrong_is_accepted(parcel: Parcel) -> None:
    try:
        files = parcel.files()
    except (pa.ArrowException, OverflowError):
        return  # no table can hold it
    verdict, found = judge(files, NOTHING)
    assert not verdict.accepted and found is None and verdict.faults


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(sound())
def test_whatever_is_right_is_accepted(parcel: Parcel) -> None:
    verdict, _ = judge(parcel.files(), NOTHING)
    assert verdict.accepted, verdict.faults


@settings(max_examples=350, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(noisy())
def test_noise_crashes_nothing_and_gets_through_only_where_it_says_something_right(
    files: dict[str, bytes],
) -> None:
    verdict, found = judge(files, NOTHING)
    assert verdict.accepted == (found is not None)
    if found is not None:
        assert is_sound(found)
