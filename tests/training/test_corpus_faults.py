"""What has a fault in a folder of shards is refused by name, and the rest loads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from shards import forge, row, run_of

from fms_hub.corpus import sketches
from fms_hub.corpus.schema import Fault, Row, to_table
from fms_hub.corpus.shards import check_shards, read_graphs, read_shards, write_shard
from fms_hub.weights.graph import WeightGraph
from training.corpus.claims import Claims


def bad_score(table: pa.Table) -> pa.Table:
    return put(table, "validation_score", [0.5, 1.5, 0.5])


def put(table: pa.Table, column: str, values: list[object]) -> pa.Table:
    at = table.column_names.index(column)
    return table.set_column(
        at, table.schema.field(at).with_nullable(True), pa.array(values, table.schema.field(at).type)
    )


FORGERIES: dict[str, Callable[[pa.Table], pa.Table]] = {
    r"validation_score outside \[0, 1\]": bad_score,
    "column 'validation_score' has NaN": lambda t: put(t, "validation_score", [0.5, float("nan"), 0.5]),
    "column 'train_loss' has NaN": lambda t: put(t, "train_loss", [1.0, float("inf"), 1.0]),
    "there is no column 'hub'": lambda t: t.drop_columns(["hub"]),
    "column 'seed' is": lambda t: t.set_column(7, "seed", pa.array([0.0, 0.0, 0.0])),
    "column 'task' has 1 nulls": lambda t: put(t, "task", ["t", None, "t"]),
    "epochs that do not rise by one in run a, epoch 3": lambda t: t.filter(pc.field("epoch") != 2),
    "an epoch twice in run a, epoch 1": lambda t: put(t, "epoch", [1, 1, 3]),
    "epoch outside 0 .. horizon": lambda t: put(t, "epoch", [2, 3, 4]),
    "a run that changes between epochs": lambda t: put(t, "seed", [0, 1, 0]),
    "a score and a status": lambda t: put(t, "status", ["ok", "failed", "ok"]),
    "status neither": lambda t: put(t, "status", ["ok", "fine", "ok"]),
    "a test score before the end": lambda t: put(t, "test_score", [0.5, None, 0.5]),
    "a sketch of another run or epoch": lambda t: put(t, "sketch", ["a/1", "a/1", None]),
    "name different checkpoints": lambda t: put(t, "sketch", ["a/1", None, None]),
    "hyperparameters that are no JSON object": lambda t: put(t, "hyperparameters", ["[]"] * 3),
    "train_loss below 0": lambda t: put(t, "train_loss", [1.0, -1.0, 1.0]),
}


@pytest.mark.parametrize("why", FORGERIES)
def test_a_faulty_contribution_is_refused_by_name_and_the_rest_loads(
    folder: Path, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = forge(folder, FORGERIES[why](to_table(run_of(3), Row)))
    assert set(read_shards(folder).run) == {"good", "better"}
    (refused,) = check_shards(folder)
    assert refused.name == name
    with pytest.raises(Fault, match=why):
        raise Fault(refused.why)
    assert name in caplog.text


def test_what_a_reader_would_refuse_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="NaN"):
        write_shard(tmp_path, [row(validation_score=float("nan"))], {})
    with pytest.raises(Fault, match="failed one"):
        rows = [row(horizon=2, test_score=None, status="failed", reason="x", validation_score=None)]
        write_shard(tmp_path, [*rows, row(epoch=2, horizon=2)], {})
    assert not (tmp_path / "manifest.jsonl").exists()


def sketch_table(graph: WeightGraph, payload: bytes, structure: str | None = None) -> pa.Table:
    name = structure or sketches.structure_name(graph.structure)
    record = {"run": "a", "epoch": 1, "structure": name, "sketch": payload}
    return pa.Table.from_pylist([record], schema=sketches.SCHEMA)


@pytest.mark.parametrize(
    ("why", "change"),
    [
        ("NaN", lambda payload: b"\x00\x7e" + payload[2:]),
        ("wrong length", lambda payload: payload[:-2]),
        ("does not fit its structure", lambda payload: payload[: len(payload) // 6]),
    ],
)
def test_a_faulty_sketch_is_refused(
    folder: Path, graph: WeightGraph, why: str, change: Callable[[bytes], bytes]
) -> None:
    halves = graph.sketch.astype("<f2").tobytes()
    forge(folder, to_table([row(sketch="a/1")], Row), sketch_table(graph, change(halves)), payload="float16")
    assert [why in refused.why for refused in check_shards(folder)] == [True]
    assert set(read_graphs(folder)) == {"good/2"}


def test_sketches_in_half_precision_are_read(folder: Path, graph: WeightGraph) -> None:
    table = sketch_table(graph, graph.sketch.astype("<f2").tobytes())
    forge(folder, to_table([row(sketch="a/1")], Row), table, payload="float16")
    assert read_graphs(folder)["a/1"].sketch == pytest.approx(graph.sketch, rel=1e-3, abs=1e-3)


def test_a_packed_sketch_that_is_cut_off_is_refused(folder: Path, graph: WeightGraph) -> None:
    packed = sketches.encode(graph.sketch.astype(np.float32))
    forge(folder, to_table([row(sketch="a/1")], Row), sketch_table(graph, packed[:-9]))
    assert "a sketch is damaged" in check_shards(folder)[0].why


def test_a_checkpoint_that_is_sketched_twice_is_refused(folder: Path, graph: WeightGraph) -> None:
    table = sketch_table(graph, sketches.encode(graph.sketch.astype(np.float32)))
    forge(folder, to_table([row(sketch="a/1")], Row), pa.concat_tables([table, table]))
    assert check_shards(folder)[0].why == "a checkpoint is sketched twice"


def test_a_sketch_without_its_structure_is_refused(folder: Path, graph: WeightGraph) -> None:
    table = sketch_table(graph, sketches.encode(graph.sketch.astype(np.float32)), "f" * 16)
    forge(folder, to_table([row(sketch="a/1")], Row), table)
    assert "structures/ffffffffffffffff.json.gz" in check_shards(folder)[0].why


@pytest.mark.parametrize("kind", ["byte", "absent", "version", "rows", "path", "payload", "sketch_version"])
def test_a_damaged_shard_is_refused_by_name(folder: Path, graph: WeightGraph, kind: str) -> None:
    good = to_table([row()], Row)
    if kind in ("byte", "absent"):
        shard = write_shard(folder, [row()], {})
        shard.write_bytes(shard.read_bytes()[:-1] + b"?") if kind == "byte" else shard.unlink()
        name = shard.stem
    elif kind in ("payload", "sketch_version"):
        payload = sketch_table(graph, sketches.encode(graph.sketch.astype(np.float32)))
        name = forge(folder, to_table([row(sketch="a/1")], Row), payload, **{kind: 99})
    else:
        changes = {"version": {"schema_version": 3}, "rows": {"rows": 2}, "path": {"files": {"../x": ""}}}
        name = forge(folder, good, **changes[kind])
    assert [refused.name for refused in check_shards(folder)] == [name]
    assert set(read_shards(folder).run) == {"good", "better"}


def test_a_run_counts_once(folder: Path) -> None:
    first = write_shard(folder, [row()], {})
    second = write_shard(folder, [row(validation_score=0.25), row(run="b")], {})
    (refused,) = check_shards(folder)
    assert refused.name == second.stem
    assert refused.why == f"run a is in {first.stem} already"


def test_a_shard_written_again_is_the_same_shard_and_mends_it(folder: Path) -> None:
    shard = write_shard(folder, [row()], {})
    before = (folder / "manifest.jsonl").read_bytes()
    shard.write_bytes(b"damaged")
    assert len(check_shards(folder)) == 1
    assert write_shard(folder, [row()], {}) == shard
    assert check_shards(folder) == ()
    assert (folder / "manifest.jsonl").read_bytes() == before


def test_lines_that_cannot_be_used_are_named_and_a_torn_one_is_passed_over(folder: Path) -> None:
    path = folder / "manifest.jsonl"
    whole = path.read_bytes()
    old = b'{"schema_version": 1, "rows": 3, "files": {}}'
    path.write_bytes(b"{nonsense}\n" + old + b"\n" + whole + whole[:40])
    assert [r.name for r in check_shards(folder)] == ["manifest.jsonl line 1", "manifest.jsonl line 2"]
    assert len(read_shards(folder)) == 5
    write_shard(folder, [row()], {})
    assert len(read_shards(folder)) == 6
    assert len(check_shards(folder)) == 2
    with pytest.raises(Fault, match="schema version 1"):
        Claims(folder)


def test_what_is_not_in_the_manifest_does_not_count(folder: Path) -> None:
    pq.write_table(to_table([row()], Row), folder / "shard-half.parquet")
    (folder / "shard-dead.parquet.partial").write_bytes(b"half")
    assert set(read_shards(folder).run) == {"good", "better"}
    write_shard(folder, [row()], {})
    assert not list(folder.glob("*.partial"))
