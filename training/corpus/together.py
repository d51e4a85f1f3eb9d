"""The sweep of the small-cnn hub, many networks at once: `training.corpus small-cnn --together 32`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from training.corpus.claims import Claims
from training.corpus.ensemble import Form, train_together
from training.corpus.plan import PlannedRun, keeps_raw
from training.corpus.register import Register
from training.corpus.runlog import Sink
from training.corpus.small_cnn import HUB, GreyTask, read_small_task
from training.corpus.small_net import CANDIDATE

_SHARD_RUNS = 50
_LOOK_AHEAD = 40
"""Runs of one form are looked for among so many times as many planned runs as are trained at once."""


@dataclass
class Queue:
    """Planned runs that nobody has begun, given out by form.

    Attributes:
        waiting: in the order in which they are wanted.
        claims: of the folder that they go to.
        tasks: those read so far.
    """

    waiting: list[PlannedRun]
    claims: Claims
    tasks: dict[str, GreyTask] = field(default_factory=dict)

    def next(self, together: int, data: Path, register: Register) -> list[PlannedRun]:
        """Claim the next run and others of its form; none if all are done or taken."""
        while self.waiting:
            first = self.waiting.pop(0)
            if not self.claims.take(first.id):
                continue
            if first.task not in self.tasks:
                self.tasks[first.task] = read_small_task(data, first.task, register)
            return [first, *self._mates(first, together - 1)]
        return []

    def _mates(self, first: PlannedRun, most: int) -> list[PlannedRun]:
        images = len(self.tasks[first.task].train[1])
        form = Form.of(first, images)
        near = self.waiting[: _LOOK_AHEAD * most]
        alike = [run for run in near if run.task == first.task and Form.of(run, images) == form][:most]
        mates = [run for run in alike if self.claims.take(run.id)]
        gone = {run.id for run in alike}
        self.waiting = [run for run in self.waiting if run.id not in gone]
        return mates


def sweep(
    planned: Iterable[PlannedRun],
    *,
    data: Path,
    out: Path,
    runs: int,
    seconds: float,
    raw_every: int,
    together: int,
    device: str,
) -> int:
    """As `training.corpus.small_cnn.sweep`, with up to ``together`` networks at once on a device."""
    deadline = time.monotonic() + seconds
    trained = 0
    with Claims(out) as claims, Sink(claims, _SHARD_RUNS) as sink:
        register = Register(out, HUB)
        register.candidate(CANDIDATE)
        queue = Queue(list(islice(planned, runs)), claims)
        while time.monotonic() < deadline and (batch := queue.next(together, data, register)):
            task = queue.tasks[batch[0].task]
            for log in train_together(
                batch, task, device=device, keep_raw=lambda run: keeps_raw(run, raw_every)
            ):
                sink.add(log)
            trained += len(batch)
    return trained
