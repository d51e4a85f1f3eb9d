"""`select`, killed again and again."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from test_select import outcome, search, small_digits

import fms_hub
from fms_hub.hub.logbook import FILE_NAME, read_history

BUDGET = "10 epochs"


def killed_search(out: Path, seconds: float) -> None:
    """Run the search in a fork and kill it hard after a while, if it has not come to its end."""
    child = os.fork()
    if child == 0:
        try:
            search(small_digits(), out, BUDGET)
        finally:
            os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG) != (0, 0):
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def killed_searches(out: Path, copies: Path, moments: Sequence[float]) -> None:
    """One after the other in the same folder; what each leaves of the log is copied."""
    torch.set_num_threads(1)
    for attempt, seconds in enumerate(moments):
        killed_search(out, seconds)
        if (out / FILE_NAME).exists():
            copy = copies / f"{attempt:02d}"
            copy.mkdir(parents=True)
            shutil.copy(out / FILE_NAME, copy)


def test_killed_at_twenty_random_moments_it_finishes_with_nothing_lost_or_doubled(tmp_path: Path) -> None:
    task = small_digits()
    reference = search(task, tmp_path / "reference", BUDGET)
    moments = np.random.default_rng(20).uniform(0.05, 2.5, 20)
    out, copies = tmp_path / "killed", tmp_path / "copies"
    # Forked from a process that never searches itself: who is killed takes locks along that forks share, such
    # as that of the progress bars, and these tests would wait for them for ever.
    killer = multiprocessing.get_context("spawn").Process(
        target=killed_searches, args=(out, copies, moments), daemon=True
    )
    killer.start()
    killer.join(300)
    assert killer.exitcode == 0
    logged: list[tuple[fms_hub.Observation, ...]] = [()]
    for copy in sorted(copies.iterdir()):
        logged.append(read_history(copy))
        assert logged[-1][: len(logged[-2])] == logged[-2], "an observation was lost or changed"
    final = search(task, out, BUDGET)
    assert final.history[: len(logged[-1])] == logged[-1]
    assert len({(o.run, o.epoch) for o in final.history}) == len(final.history) == 10
    assert outcome(final.history) == outcome(reference.history)
    assert final.best.test_score == reference.best.test_score
    assert not [p.name for p in (out / "checkpoints").iterdir() if p.name.startswith(".")]
