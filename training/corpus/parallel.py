"""Several sweeps at once: single-threaded processes that share the runs of a plan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import torch

from training.corpus.plan import PlannedRun
from training.corpus.run import Settings, sweep


@dataclass(frozen=True)
class Sweep:
    """A sweep that several processes can do together.

    Attributes:
        planned: its runs.
        settings: how they are run.
    """

    planned: Sequence[PlannedRun]
    settings: Settings

    def share(self, worker: int, workers: int, parent: int | None = None) -> int:
        """Train every ``workers``-th run, beginning with number ``worker``, then what others have left over.

        Returns how many were trained.

        Args:
            worker: 0 .. workers - 1.
            workers: how many there are.
            parent: id of the process that this one must not outlive.
        """
        torch.set_num_threads(1)
        # Whoever is done first helps the others; claims keep two from training the same run.
        order = [run for turn in range(workers) for run in self.planned[(worker + turn) % workers :: workers]]
        return sweep(order, self.settings, len(order), lambda: parent in (None, os.getppid()))


def in_processes(work: Sweep, workers: int) -> int:
    """Do the sweep in so many processes, in this one if it is one; returns how many runs were trained."""
    if workers == 1:
        return work.share(0, 1)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        shares = [pool.submit(work.share, worker, workers, os.getpid()) for worker in range(workers)]
        return sum(share.result() for share in shares)
