"""Sweeps that share a folder, are killed, or meet a full disk."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from shards import row

from fms_hub.corpus.shards import check_shards, read_corpus, read_shards, write_shard
from fms_hub.weights.graph import WeightGraph
from training.corpus.claims import Claims
from training.corpus.runlog import RunLog, Sink

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
