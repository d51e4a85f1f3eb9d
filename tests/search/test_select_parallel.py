"""Several epochs at once, in processes of their own: real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from test_select import outcome, small_digits
from torch import Tensor, nn

import fms_hub
from fms_hub.errors import SearchError, UsageError
from fms_hub.hub.logbook import FILE_NAME, read_history
from fms_hub.records import Parent, Proposal
from fms_hub.search.crew import seats
from fms_hub.search.shelf import clear, kept

CANDIDATES = ["scratch:test_resnet", "scratch:test_vit"]


def search(
    out: Path, budget: str = "6 epochs", parallel: int = 2, candidates: object = CANDIDATES
) -> fms_hub.Selection:
    return fms_hub.select(
        small_digits(), candidates, budget=budget, out=out, parallel=parallel,
        max_epochs=3, image_size=32, progress=False, surrogate="scratch",
    )  # fmt: skip


def test_whichever_process_is_faster_equal_seeds_give_equal_searches(tmp_path: Path) -> None:
    first, second = search(tmp_path / "first"), search(tmp_path / "second")
    assert outcome(first.history) == outcome(second.history)
    assert first.spent.epochs == len(first.history) == 6
    task = small_digits()
    guesses = first.predict(task.validation.images)
    labels = [task.info.classes[label] for label in task.validation.labels]
    right = np.mean([guess == label for guess, label in zip(guesses, labels, strict=True)])
    assert right == pytest.approx(first.best.score)
    last = {o.run: o.checkpoint for o in first.history}
    there = {f"checkpoints/{path.name}" for path in (first.out / "checkpoints").iterdir()}
    assert there == {*last.values(), first.best.checkpoint}
    assert all(o.sketch is not None for o in first.history)


class Deadly(nn.Module):
    """Takes down every process but the one that is named."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 32 * 32, 10)

    def forward(self, x: Tensor) -> Tensor:
        if str(os.getpid()) != os.environ["SPARED"]:
            os._exit(9)
        found: Tensor = self.linear(x.flatten(1))
        return found


def test_a_process_that_dies_ends_the_search_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARED", str(os.getpid()))
    with pytest.raises(SearchError, match="ended without an answer"):
        search(tmp_path, candidates=Deadly())
    assert read_history(tmp_path) == ()


def test_candidates_that_no_other_process_can_have_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARED", str(os.getpid()))

    class Local(Deadly):
        pass

    with pytest.raises(UsageError, match="can be handed to them"):
        search(tmp_path, candidates=Local())


def test_killed_it_takes_its_processes_along_and_goes_on(tmp_path: Path) -> None:
    code = (
        "if __name__ == '__main__':\n"
        "    from pathlib import Path\n"
        "    from test_select_parallel import search\n"
        f"    search(Path({str(tmp_path)!r}), '40 epochs')\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    folders = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    child = subprocess.Popen([sys.executable, str(script)], env={**os.environ, "PYTHONPATH": folders})
    log, deadline = tmp_path / FILE_NAME, time.monotonic() + 90
    while time.monotonic() < deadline and not (log.exists() and len(read_history(tmp_path)) > 1):
        time.sleep(0.05)
    workers = [int(pid) for pid in _children(child.pid)]
    child.send_signal(signal.SIGKILL)
    child.wait()
    logged = read_history(tmp_path)
    assert len(workers) >= 2 and len(logged) > 1
    while time.monotonic() < deadline and any(map(_lives, workers)):
        time.sleep(0.05)
    assert not any(map(_lives, workers))
    budget = len(logged) + 2
    found = search(tmp_path, f"{budget} epochs", parallel=1)
    assert found.history[: len(logged)] == logged and len(found.history) == budget


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_what_is_being_trained_keeps_what_it_goes_on_from_and_what_it_writes(tmp_path: Path) -> None:
    shelf = tmp_path / "checkpoints"
    names = (
        "r0001-e001",
        "r0002-e001",
        ".r0001-e002.7.part",
        ".r0003-e001.7.part",
        "r0004-e001",
        "r0005-e002",
    )
    for name in names:
        (shelf / name).mkdir(parents=True)
    out = [Proposal(1, "a", {}, 2, 3), Proposal(4, "a", {}, 1, 3), Proposal(6, "a", {}, 3, 3, Parent(5, 2))]
    clear(tmp_path, kept((), 1, (), out))
    assert {path.name for path in shelf.iterdir()} == {
        "r0001-e001",
        ".r0001-e002.7.part",
        "r0004-e001",
        "r0005-e002",
    }


def test_processes_take_all_gpus_in_turn_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert seats(torch.device("cuda"), 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert seats(torch.device("cuda:1"), 2) == ["cuda:1", "cuda:1"]
    assert seats(torch.device("cpu"), 2) == ["cpu", "cpu"]


def test_less_than_one_at_once_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="parallel must be at least 1, found 0"):
        search(tmp_path, parallel=0)
