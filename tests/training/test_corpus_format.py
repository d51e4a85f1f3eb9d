"""The corpus' format: what is written is read back, and what has a fault is refused by name."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from fms_hub.corpus import manifest, sketches
from fms_hub.corpus.manifest import Entry
from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Fault, ProbeRow, Row, TaskRow, to_table
from fms_hub.corpus.shards import check_shards, read_corpus, read_graphs, read_shards, write_shard
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.tasks.dataset import digits
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import SKETCH_VERSION
from training.corpus.claims import Claims
from training.corpus.runlog import RunLog, Sink
from training.corpus.small_net import PIXELS, SmallCNN


def row(**changes: object) -> Row:
    fields: dict[str, object] = {
        "run": "a", "hub": "h", "task": "t", "candidate": "c", "hyperparameters": "{}",
        "epoch": 1, "horizon": 1, "seed": 0,
        "train_loss": 1.0, "validation_score": 0.5, "test_score": 0.5, "seconds": None, "device": "cpu",
        "status": "ok", "reason": None, "sketch": None,
    }  # fmt: skip
    return Row(**{**fields, **changes})  # type: ignore[arg-type]


def run_of(epochs: int, run: str = "a", **changes: object) -> list[Row]:
    rows = [row(run=run, epoch=e, horizon=epochs, test_score=None, **changes) for e in range(1, epochs + 1)]
    return [*rows[:-1], replace(rows[-1], test_score=0.5)]


def forge(folder: Path, table: pa.Table, sketched: pa.Table | None = None, **changes: object) -> str:
    """A shard as another program might contribute it: hashes are right, nothing else was looked at."""
    files = {}
    for name, content in (("shard-forged.parquet", table), ("shard-forged.sketches.parquet", sketched)):
        if content is not None:
            pq.write_table(content, folder / name)
            files[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    runs = tuple(dict.fromkeys(table["run"].to_pylist())) if "run" in table.column_names else ("a",)
    entry = Entry(2, "shard-forged", runs, table.num_rows, sketches.PAYLOAD, SKETCH_VERSION, files)
    manifest.append(folder, replace(entry, **changes))
    return "shard-forged"


@pytest.fixture(scope="module")
def graph() -> WeightGraph:
    return describe(SmallCNN(10), (1, PIXELS, PIXELS))


@pytest.fixture
def folder(tmp_path: Path, graph: WeightGraph) -> Path:
    """A shard of two runs, one of them sketched."""
    rows = [*run_of(2, "good"), *run_of(3, "better")]
    rows[1] = replace(rows[1], sketch="good/2")
    write_shard(tmp_path, rows, {"good/2": graph}, {"raw": {"good/2/w": np.ones(3, np.float16)}})
    return tmp_path


def test_rows_graphs_and_tensors_come_back(folder: Path, graph: WeightGraph) -> None:
    corpus = read_corpus(folder)
    assert corpus.refused == ()
    assert corpus.rows.run.tolist() == ["good"] * 2 + ["better"] * 3
    assert corpus.rows.test_score.isna().tolist() == [True, False, True, True, False]
    (key,) = corpus.graphs
    assert key == "good/2"
    assert corpus.graphs[key].structure == graph.structure
    off = np.abs(corpus.graphs[key].sketch - graph.sketch)
    assert (off <= np.ptp(graph.sketch, axis=0) / 500 + 1e-3).all()
    assert corpus.tensors("raw")["good/2/w"].tolist() == [1, 1, 1]


def test_weights_in_another_memory_order_come_back_as_they_were(tmp_path: Path, graph: WeightGraph) -> None:
    turned = np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1)
    rows = [row(run="aaaaaaaaaaaaaaaa", sketch="aaaaaaaaaaaaaaaa/1")]
    write_shard(tmp_path, rows, {"aaaaaaaaaaaaaaaa/1": graph}, {"raw": {"aaaaaaaaaaaaaaaa/1/w": turned}})
    assert np.array_equal(read_corpus(tmp_path).tensors("raw")["aaaaaaaaaaaaaaaa/1/w"], turned)


def test_an_empty_folder_has_the_columns_and_no_rows(tmp_path: Path) -> None:
    assert list(read_shards(tmp_path).columns) == list(row().__dict__)
    assert len(read_shards(tmp_path)) == 0


def test_one_network_has_one_structure(folder: Path, graph: WeightGraph) -> None:
    write_shard(folder, [row(run="more", sketch="more/1")], {"more/1": graph})
    other = describe(SmallCNN(3), (1, PIXELS, PIXELS))
    write_shard(folder, [row(run="other", sketch="other/1")], {"other/1": other})
    assert len(list((folder / "structures").iterdir())) == 2
    assert read_graphs(folder)["other/1"].structure == other.structure


def test_graphs_are_read_without_building_models(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fms_hub.corpus.shards import read_graphs\n"
        f"graphs = read_graphs(Path({str(folder)!r}))\n"
        "assert graphs['good/2'].x.shape[0] == 6 and 'timm' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_datasets_opens_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = str(tmp_path_factory.mktemp("cache"))
    add_rows(folder, CandidateRow, [candidate()])
    runs = load_dataset(str(folder), split="train", cache_dir=cache)
    assert runs.num_rows == 5
    assert runs["test_score"][:2] == [None, 0.5]
    assert load_dataset(str(folder), "sketches", split="train", cache_dir=cache)["epoch"][:] == [2]
    assert load_dataset(str(folder), "candidates", split="train", cache_dir=cache)["name"][:] == ["x"]


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


ROW = "ROW = ('h', 't', 'c', '{}', 1, 1, 0, 1.0, 0.5, 0.5, None, 'cpu', 'ok', None, None)"
FULL = """
import resource, sys
from pathlib import Path
from fms_hub.errors import StorageError
from fms_hub.corpus.shards import Row, write_shard
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    write_shard(folder, [Row(f"{i:016x}", *ROW) for i in range(2000)], {})
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize("room", [4000, 20_000])  # bytes: too few for the table, too few for the manifest
def test_a_full_disk_stops_cleanly_and_names_what_is_kept(folder: Path, room: int) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    done = subprocess.run(
        [sys.executable, "-c", ROW + FULL, str(folder), str(room)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "cannot write 2000 runs" in done.stdout, done.stderr
    assert "2 runs in 1 shards are kept" in done.stdout
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before | {".lock": b""}
    assert check_shards(folder) == ()


NARROW = """
import random, resource, sys
from pathlib import Path
from fms_hub.errors import StorageError
from training.corpus.claims import Claims
from training.corpus.runlog import RunLog, Sink
from fms_hub.corpus.shards import Row
folder = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000,) * 2)
try:
    with Claims(folder) as claims, Sink(claims, runs=3) as sink:
        for i in range(9):
            assert claims.take(f"run{i}")
            noise = '{"a": "%s"}' % random.Random(i).randbytes(12_000).hex()
            sink.add(RunLog([Row(f"run{i}", *ROW[:3], noise, *ROW[4:])]))
except StorageError as error:
    print(error)
"""


def test_runs_that_a_full_disk_kept_from_their_shard_are_written_once_there_is_room(folder: Path) -> None:
    command = [sys.executable, "-c", ROW + NARROW, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "cannot write 3 runs" in done.stdout, done.stderr
    assert set(read_shards(folder).run) == {"good", "better"}
    with Claims(folder) as claims:
        assert not claims.take("run0")
        with Sink(claims, runs=3):
            assert set(read_shards(folder).run) == {"good", "better", "run0", "run1", "run2"}
    assert not list((folder / "claims").iterdir())


RUNNER = """
import sys, time
from pathlib import Path
from training.corpus.claims import Claims
from training.corpus.runlog import RunLog, Sink
from fms_hub.corpus.shards import Row
folder = Path(sys.argv[1])
with Claims(folder) as claims, Sink(claims, runs=3) as sink:
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(int(sys.argv[2])):
        if claims.take(f"run{i}"):
            print(f"run{i}", flush=True)
            time.sleep(float(sys.argv[3]))
            sink.add(RunLog([Row(f"run{i}", *ROW)]))
"""


class Runner:
    """A process that goes through the same 20 runs as the others once it is told to go."""

    def __init__(self, folder: Path, seconds: float) -> None:
        arguments = [sys.executable, "-c", ROW + RUNNER, str(folder), "20", str(seconds)]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def finish(self) -> list[str]:
        return self.process.communicate()[0].split()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def runners(folder: Path) -> Iterator[list[Runner]]:
    started = [Runner(folder, seconds) for seconds in (60.0, 0.05, 0.05)]
    yield started
    for runner in started:
        runner.kill()


def test_two_runners_share_a_folder_and_a_killed_one_gives_its_runs_back(
    folder: Path, runners: list[Runner]
) -> None:
    assert [runner.line() for runner in runners] == ["ready"] * 3
    slow, *quick = runners
    slow.go()
    held = slow.line()
    for runner in quick:
        runner.go()
    taken = [runner.finish() for runner in quick]
    assert sorted([*taken[0], *taken[1], held]) == sorted(f"run{i}" for i in range(20))
    assert min(map(len, taken)) > 0
    with Claims(folder) as claims:
        assert not claims.take(held)
        slow.kill()
        assert claims.take(held)
    corpus = read_corpus(folder)
    assert corpus.refused == ()
    assert set(corpus.rows.run) == {"good", "better", *taken[0], *taken[1]}
    assert not list((folder / "claims").iterdir())


def test_a_sweep_that_is_asked_to_end_writes_what_is_finished(folder: Path) -> None:
    runner = Runner(folder, 0.5)
    assert runner.line() == "ready"
    runner.go()
    assert [runner.line(), runner.line()] == ["run0", "run1"]
    runner.process.terminate()
    runner.finish()
    assert runner.process.returncode == 128 + 15
    assert set(read_shards(folder).run) == {"good", "better", "run0"}
    assert not list((folder / "claims").iterdir())


def test_a_sweep_that_is_killed_loses_the_run_under_way_alone(folder: Path) -> None:
    runner = Runner(folder, 0.5)
    assert runner.line() == "ready"
    runner.go()
    assert [runner.line(), runner.line()] == ["run0", "run1"]
    with Claims(folder) as other:
        runner.kill()
        assert not other.take("run0")
        assert other.take("run1")
    assert set(read_shards(folder).run) == {"good", "better"}
    with Claims(folder) as claims, Sink(claims, runs=3):
        assert set(read_shards(folder).run) == {"good", "better", "run0"}
        assert not claims.take("run0")
    assert not list((folder / "claims").iterdir())


def test_a_journal_whose_runs_were_written_is_not_written_again(folder: Path, graph: WeightGraph) -> None:
    left = folder / "claims" / "1-dead"
    sketched = replace(row(run="late"), sketch="late/1")
    RunLog([row(run="good")]).write(left)
    RunLog([sketched], {"late/1": graph}, {"late/1/w": np.ones(2, np.float16)}).write(left)
    (folder / "claims" / "1-dead.lock").touch()
    with Claims(folder) as claims, Sink(claims, runs=3):
        pass
    corpus = read_corpus(folder)
    assert corpus.refused == ()
    assert corpus.rows.run.value_counts().to_dict() == {"good": 2, "better": 3, "late": 1}
    assert set(corpus.graphs) == {"good/2", "late/1"}
    assert set(corpus.tensors("raw")) == {"good/2/w", "late/1/w"}
    assert not left.exists()


def test_a_run_that_another_has_written_meanwhile_is_not_taken(folder: Path) -> None:
    with Claims(folder) as claims:
        assert not claims.take("good")
        write_shard(folder, [row(run="new")], {})
        assert not claims.take("new")


def test_a_sink_writes_when_it_has_enough(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims, Sink(claims, runs=2, seconds=3600) as sink:
        for i in range(3):
            sink.add(RunLog([row(run=f"run{i}")]))
        assert read_shards(tmp_path).run.tolist() == ["run0", "run1"]
    assert len(read_shards(tmp_path)) == 3


def test_a_sink_writes_when_time_is_up(tmp_path: Path) -> None:
    with Claims(tmp_path) as claims, Sink(claims, runs=100, seconds=1) as sink:
        time.sleep(1)
        sink.add(RunLog([row(run="run0")]))
        assert read_shards(tmp_path).run.tolist() == ["run0"]


def candidate(**changes: object) -> CandidateRow:
    row = CandidateRow("x", "test_vit", "vision_transformer", "mnist", 1, 0.5, 10, "MIT", False)
    return replace(row, **changes)  # type: ignore[arg-type]


def test_table_rows_are_added_once_and_never_changed(tmp_path: Path) -> None:
    add_rows(tmp_path, CandidateRow, [candidate()])
    add_rows(tmp_path, CandidateRow, [candidate(), candidate(name="y", accuracy=None)])
    assert read_table(tmp_path, CandidateRow) == [candidate(), candidate(name="y", accuracy=None)]
    with pytest.raises(Fault, match=r"candidates.parquet has another x: epochs 1, not 2"):
        add_rows(tmp_path, CandidateRow, [candidate(epochs=2)])
    with pytest.raises(Fault, match="accuracy outside"):
        add_rows(tmp_path, CandidateRow, [candidate(name="z", accuracy=2.0)])
    assert len(read_table(tmp_path, CandidateRow)) == 2


def test_a_table_of_probes_from_before_a_column_reads_as_none_and_grows(tmp_path: Path) -> None:
    old = ProbeRow("usps", "source/x", 0.5, 0.5, 0.1, 96)
    later = ("logme", "h_score", "knn", "leep", "nce")
    pq.write_table(to_table([old], ProbeRow).drop_columns(list(later)), tmp_path / "probes.parquet")
    assert read_table(tmp_path, ProbeRow) == [old]
    new = ProbeRow("usps", "source/y", 0.5, 0.5, 0.1, 96, logme=-0.4, h_score=2.5, knn=0.75, leep=None)
    add_rows(tmp_path, ProbeRow, [old, new])
    assert read_table(tmp_path, ProbeRow) == [old, new]
    with pytest.raises(Fault, match=r"knn outside \[0, 1\]"):
        add_rows(tmp_path, ProbeRow, [replace(new, candidate="z", knn=1.5)])
    pq.write_table(to_table([old], ProbeRow).drop_columns(["features"]), tmp_path / "probes.parquet")
    with pytest.raises(Fault, match="no column 'features'"):
        read_table(tmp_path, ProbeRow)


def test_a_task_keeps_its_meta_features(tmp_path: Path) -> None:
    info = digits().info
    assert set(META_FEATURES) == set(info.features)
    task = TaskRow(
        "h", "digits", "characters", 10, None, 1, 1, 1, 32, "accuracy", info.fingerprint, dict(info.features),
        "", "",
    )  # fmt: skip
    outside = replace(task, hub="outside", fingerprint=None, features=None, train=None)
    add_rows(tmp_path, TaskRow, [task, outside])
    assert read_table(tmp_path, TaskRow) == [task, outside]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    add_rows(tmp_path, CandidateRow, [candidate(name=f"candidate {i}") for i in range(50)])
    path = tmp_path / "candidates.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(Fault, match=r"candidates\.parquet cannot be used"):
        read_table(tmp_path, CandidateRow)
