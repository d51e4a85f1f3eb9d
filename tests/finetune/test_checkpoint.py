from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
import torch

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.finetune.checkpoint import (
    OPTIMIZER,
    STATE,
    WEIGHTS,
    Checkpoint,
    RunState,
    read,
    read_weights,
    write,
)


def checkpoint(epoch: int = 2, size: int = 3) -> Checkpoint:
    return Checkpoint(
        weights={"fc.weight": torch.arange(size * 2.0).reshape(2, size), "bn.count": torch.tensor(7)},
        optimizer={"exp_avg/fc.weight": torch.full((2, size), 0.5), "step/fc.weight": torch.tensor(4.0)},
        state=RunState("tiny", "abc", {"learning_rate": 1e-3, "optimizer": "adamw"}, 3, epoch, 12, 0),
    )


def test_what_was_written_is_read_back(tmp_path):
    folder = tmp_path / "deep" / "run"
    write(folder, checkpoint())
    found = read(folder)
    assert found.state == checkpoint().state
    for kept, given in ((found.weights, checkpoint().weights), (found.optimizer, checkpoint().optimizer)):
        assert kept.keys() == given.keys()
        assert all(torch.equal(kept[k], given[k]) and kept[k].dtype == given[k].dtype for k in given)
    weights, state = read_weights(folder)
    assert state == found.state
    assert torch.equal(weights["fc.weight"], given_weight())
    assert [p.name for p in folder.parent.iterdir()] == ["run"]


def given_weight() -> torch.Tensor:
    return checkpoint().weights["fc.weight"]


def test_an_optimiser_without_state_is_kept_too(tmp_path):
    write(tmp_path / "run", Checkpoint(checkpoint().weights, {}, checkpoint().state))
    assert read(tmp_path / "run").optimizer == {}


def test_an_older_checkpoint_is_replaced(tmp_path):
    write(tmp_path / "run", checkpoint(epoch=1))
    write(tmp_path / "run", checkpoint(epoch=2))
    assert read(tmp_path / "run").state.epoch == 2
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER])
def test_one_changed_byte_is_noticed(tmp_path, name):
    write(tmp_path / "run", checkpoint())
    content = bytearray((tmp_path / "run" / name).read_bytes())
    content[-1] ^= 1
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: sha256"):
        read(tmp_path / "run")


@pytest.mark.parametrize("name", [WEIGHTS, OPTIMIZER, STATE])
def test_a_missing_file_is_named(tmp_path, name):
    write(tmp_path / "run", checkpoint())
    (tmp_path / "run" / name).unlink()
    with pytest.raises(CheckpointError, match=f"no readable {name}"):
        read(tmp_path / "run")


def edit_state(folder, **changes):
    state = json.loads((folder / STATE).read_text())
    state.update(changes)
    (folder / STATE).write_text(json.dumps({k: v for k, v in state.items() if v is not None}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, r"format version 2, this fms_hub reads 1"),
        ({"format_version": None}, r"format version None"),
        ({"epoch": None}, r"must hold sha256 of both files and candidate, epoch"),
        ({"surprise": 1}, r"found .*surprise"),
        ({"sha256": {WEIGHTS: "0"}}, r"must hold sha256"),
        ({"epoch": "two"}, r"epoch must be a whole number .* found 'two'"),
        ({"epoch": 13}, r"epoch must be a whole number in 1 .. 12, found 13"),
        ({"recipe": [1]}, r"recipe must be an object, found \[1\]"),
    ],
)
def test_a_state_of_another_form_is_refused(tmp_path, changes, message):
    write(tmp_path / "run", checkpoint())
    edit_state(tmp_path / "run", **changes)
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "run")


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_state_is_refused(tmp_path, text):
    write(tmp_path / "run", checkpoint())
    (tmp_path / "run" / STATE).write_text(text)
    with pytest.raises(CheckpointError, match=STATE):
        read(tmp_path / "run")


KILLED_WHILE_WRITING = """
    import os, signal, sys, time, torch
    from pathlib import Path
    from fms_hub.finetune.checkpoint import Checkpoint, RunState, read, write

    def write_forever(folder, pipe):
        epoch = 0
        while True:
            epoch += 1
            weights = {str(i): torch.full((250, 1000), float(epoch)) for i in range(8)}
            write(folder, Checkpoint(weights, {}, RunState("tiny", "", {}, 0, epoch, 10**9, 0)))
            os.write(pipe, b"x")

    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    for attempt in range(12):
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            write_forever(folder, writing)
        os.read(reading, 1)
        time.sleep(0.003 * attempt)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(writing)
        finished = 1 + len(os.read(reading, 10**6))
        half = any(p.name.startswith(".run.") for p in folder.parent.iterdir())
        if folder.exists():
            found = read(folder)
            assert found.state.epoch in (finished, finished + 1), (found.state.epoch, finished)
            assert all(bool((w == found.state.epoch).all()) for w in found.weights.values())
        print("inside" if half else "between", "there" if folder.exists() else "absent")
"""


def test_a_killed_process_leaves_the_old_checkpoint_the_new_one_or_none(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", textwrap.dedent(KILLED_WHILE_WRITING), str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(printed.splitlines()) == 12
    assert "inside there" in printed
    write(folder, checkpoint())
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


FULL_DISK = """
    import resource, sys, torch
    from pathlib import Path
    from fms_hub.errors import StorageError
    from fms_hub.finetune.checkpoint import Checkpoint, RunState, write
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        state = RunState("t", "", {}, 0, 2, 2, 0)
        write(Path(sys.argv[1]), Checkpoint({"a": torch.ones(250, 250)}, {}, state))
    except StorageError as error:
        print(error)
"""


def test_a_file_that_does_not_fit_is_a_storage_error_and_the_old_checkpoint_stays(tmp_path):
    folder = tmp_path / "run"
    write(folder, checkpoint())
    command = [sys.executable, "-c", textwrap.dedent(FULL_DISK), str(folder)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"expected to write the checkpoint {folder}, but: File too large. Free some space" in printed
    assert read(folder).state == checkpoint().state
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_place_where_no_folder_can_be_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("here")
    with pytest.raises(StorageError, match=r"Not a directory|File exists"):
        write(tmp_path / "file" / "run", checkpoint())
