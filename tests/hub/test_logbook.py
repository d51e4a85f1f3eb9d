"""The logbook: what is written is read back, whatever happened to the last line."""

import json
import multiprocessing
import resource
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from fms_hub.errors import CheckpointError, OutputError, ResumeError, StorageError
from fms_hub.hub.logbook import FILE_NAME, Logbook, read_history
from fms_hub.records import Observation, Probe

IDENTITY = {"dataset": "d1", "space": "s1"}


def observation(run: int = 0, epoch: int = 1, **changes: object) -> Observation:
    base = Observation(
        run, "timm/x", {"learning_rate": 1e-3}, epoch, 4, 0.5, train_loss=1.25, seconds=2.0, images=100
    )
    return replace(base, **changes)


def filled(folder: Path, n: int = 3) -> tuple[Observation, ...]:
    with Logbook(folder, IDENTITY) as log:
        for epoch in range(1, n + 1):
            log.append(observation(epoch=epoch, score=epoch / 10))
        return log.history


def test_reopening_gives_back_every_observation(tmp_path: Path) -> None:
    written = filled(tmp_path)
    assert len(written) == 3
    with Logbook(tmp_path, IDENTITY) as log:
        assert log.history == written
        log.append(observation(epoch=4))
    assert read_history(tmp_path) == (*written, observation(epoch=4))


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_cut_last_line_is_dropped_with_a_warning_and_written_again(tmp_path: Path, cut: int) -> None:
    written = filled(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.warns(UserWarning, match="dropped the last line"):
        log = Logbook(tmp_path, IDENTITY)
    assert log.history == written[:-1]
    log.append(written[-1])
    log.close()
    assert read_history(tmp_path) == written


def test_a_cut_header_starts_the_log_again(tmp_path: Path) -> None:
    Logbook(tmp_path, IDENTITY).close()
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:10])
    with pytest.warns(UserWarning, match="dropped"), Logbook(tmp_path, IDENTITY) as log:
        log.append(observation())
    assert read_history(tmp_path) == (observation(),)


def test_damage_before_the_last_line_is_refused_and_named(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / FILE_NAME
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2][:20] + b"\n"
    path.write_bytes(b"".join(lines))
    with pytest.raises(CheckpointError, match="line 3"):
        Logbook(tmp_path, IDENTITY)
    assert path.read_bytes() == b"".join(lines)


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    Logbook(tmp_path, IDENTITY).close()
    path = tmp_path / FILE_NAME
    header = json.loads(path.read_text())
    path.write_text(json.dumps({**header, "format_version": 99}) + "\n")
    with pytest.raises(CheckpointError, match="99"):
        Logbook(tmp_path, IDENTITY)


def test_another_identity_is_refused_naming_what_differs(tmp_path: Path) -> None:
    written = filled(tmp_path)
    with pytest.raises(ResumeError, match=r"dataset \(was d1, now d2\)") as caught:
        Logbook(tmp_path, {**IDENTITY, "dataset": "d2"})
    assert "space" not in str(caught.value)
    assert read_history(tmp_path) == written


def hold(folder: Path, ready: object, done: object) -> None:
    with Logbook(folder, IDENTITY):
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


def test_a_second_search_in_the_same_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=hold, args=(tmp_path, ready, done))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(ResumeError, match="in use"):
        Logbook(tmp_path, IDENTITY)
    holder.kill()
    holder.join(30)
    Logbook(tmp_path, IDENTITY).close()


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (observation(epoch=2), "expected epoch 3"),
        (observation(epoch=4), "expected epoch 3"),
        (observation(run=1, epoch=2), "expected epoch 1"),
    ],
)
def test_what_does_not_follow_is_refused_and_not_written(tmp_path: Path, bad: Observation, why: str) -> None:
    written = filled(tmp_path, 2)
    with Logbook(tmp_path, IDENTITY) as log:
        with pytest.raises(ValueError, match=why):
            log.append(bad)
        assert log.history == written
    assert read_history(tmp_path) == written


def test_nothing_follows_a_failed_epoch(tmp_path: Path) -> None:
    with Logbook(tmp_path, IDENTITY) as log:
        log.append(observation(score=None, status="failed", reason="diverged"))
        with pytest.raises(ValueError, match="failed in epoch 1"):
            log.append(observation(epoch=2))


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        Logbook(tmp_path / "file" / "run", IDENTITY)
    with pytest.raises(OutputError, match="holds no"):
        read_history(tmp_path)


def append_on_a_full_disk(folder: Path) -> None:
    """Where files may not grow: call it in a process of its own, which ends with 0 if the error is ours."""
    resource.setrlimit(resource.RLIMIT_FSIZE, ((folder / FILE_NAME).stat().st_size + 40,) * 2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with Logbook(folder, IDENTITY) as log:
            log.append(observation(epoch=4))
    except StorageError:
        sys.exit(0)
    sys.exit(1)


def test_a_full_disk_loses_nothing_that_was_logged(tmp_path: Path) -> None:
    written = filled(tmp_path)
    child = multiprocessing.get_context("spawn").Process(target=append_on_a_full_disk, args=(tmp_path,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    with Logbook(tmp_path, IDENTITY) as log:
        assert log.history == written
        log.append(observation(epoch=4))
    assert len(read_history(tmp_path)) == 4


def test_probes_are_lines_of_epoch_0_and_come_back(tmp_path: Path) -> None:
    probes = tuple(
        Probe(name, -0.5, 3.0, 0.25, 0.5, images=512, seconds=1.5) for name in ("timm/x", "timm/y")
    )
    with Logbook(tmp_path, IDENTITY) as log:
        for probe in probes:
            log.append(probe)
        with pytest.raises(ValueError, match="timm/y was probed before"):
            log.append(probes[1])
        log.append(observation())
    with Logbook(tmp_path, IDENTITY) as log:
        assert (log.probes, log.history) == (probes, (observation(),))
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [line["epoch"] for line in lines[1:]] == [0, 0, 1]
    assert read_history(tmp_path) == (observation(),)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("linear", 1.5, "linear of a probe must lie in"),
        ("logme", "high", "another type"),
        ("epoch", 2, "fields of an observation or of a probe"),
    ],
)
def test_a_damaged_probe_is_refused_by_line(tmp_path: Path, name: str, value: object, said: str) -> None:
    with Logbook(tmp_path, IDENTITY) as log:
        log.append(Probe("timm/x", -0.5, 3.0, 0.25, 0.5, images=512))
        log.append(observation())
    path = tmp_path / FILE_NAME
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | {name: value})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(CheckpointError, match=f"line 2: .*{said}"):
        read_history(tmp_path)
