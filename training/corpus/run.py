"""The sweep runner: trains planned runs one after the other until the time is up."""

from __future__ import annotations

import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from fms_hub.corpus.shards import Row
from fms_hub.errors import TrainingFailure
from fms_hub.finetune.trainer import EpochResult, Trainer
from fms_hub.models.zoo import build
from fms_hub.records import Candidate
from fms_hub.tasks.task import Task
from fms_hub.weights.describe import describe, refresh
from fms_hub.weights.graph import WeightGraph
from training.corpus.candidates import find, resolve
from training.corpus.claims import Claims
from training.corpus.plain import plain_statistics
from training.corpus.plan import PlannedRun, keeps_raw
from training.corpus.register import Register
from training.corpus.runlog import RunLog, Sink
from training.corpus.tasks import metric, read_task

SKETCHED = (1, 4)
"""Epochs whose weights are sketched, besides the last one."""
RUNS_PER_SHARD = 12


@dataclass(frozen=True)
class Settings:
    """How a sweep is run.

    Attributes:
        data: folder of the dataset files.
        out: folder of the shards.
        hub: that the runs belong to.
        images: most training images of a task; None for the epochs of the timm-tiny hub, see `read_task`.
        image_size: pixels, for all candidates.
        seconds: time limit.
        timed: whether seconds are recorded: only where one run has the machine to itself.
        device: None takes a GPU if there is one.
        raw_every: the weights of about one run in this many are kept; which follows from the ids; 0: none.
    """

    data: Path
    out: Path
    hub: str
    images: int | None
    image_size: int | None
    seconds: float
    timed: bool
    device: str | None
    raw_every: int = 0


@dataclass
class Bench:
    """What the runs of a sweep share: tasks in memory, and trainers."""

    settings: Settings
    tasks: dict[str, Task] = field(default_factory=dict)
    trainers: dict[tuple[str, int], Trainer] = field(default_factory=dict)

    def trainer(self, run: PlannedRun) -> Trainer:
        """The trainer of the run's task and seed."""
        settings = self.settings
        if run.task not in self.tasks:
            self.tasks[run.task] = read_task(settings.data, run.task, settings.images)
        if (run.task, run.seed) not in self.trainers:
            self.trainers[run.task, run.seed] = Trainer(
                self.tasks[run.task],
                metric=metric(run.task),
                image_size=settings.image_size,
                device=settings.device,
                seed=run.seed,
            )
        return self.trainers[run.task, run.seed]


def sweep(
    planned: Iterable[PlannedRun], settings: Settings, runs: int, go_on: Callable[[], bool] = lambda: True
) -> int:
    """Train the first ``runs`` planned runs that no shard holds yet; returns how many were trained.

    Runs of source checkpoints that are not trained yet wait for them, and are left out at the end.

    Args:
        planned: in the order in which they are wanted.
        settings: how they are run.
        runs: of the whole sweep, those trained before included.
        go_on: asked before every run, as the time limit is.
    """
    deadline = time.monotonic() + settings.seconds
    waiting = list(islice(planned, runs))
    bench = Bench(settings)
    trained = 0
    with Claims(settings.out) as claims, Sink(claims, RUNS_PER_SHARD) as sink:
        register = Register(settings.out, settings.hub)
        while go_on() and time.monotonic() < deadline and (run := _next(waiting)) is not None:
            if claims.take(run.id):
                trainer = bench.trainer(run)
                _register(register, run, trainer, settings)
                raw = keeps_raw(run, settings.raw_every)
                sink.add(train_run(run, trainer, hub=settings.hub, timed=settings.timed, keep_raw=raw))
                trained += 1
    return trained


def _register(register: Register, run: PlannedRun, trainer: Trainer, settings: Settings) -> None:
    register.task(
        run.task,
        trainer.task,
        settings.data,
        images=settings.images,
        image_size=settings.image_size,
        metric=trainer.metric,
    )
    register.candidate(run.candidate)


def _next(waiting: list[PlannedRun]) -> PlannedRun | None:
    """Take the first run whose candidate is there; None if there is none."""
    there: dict[str, bool] = {}
    for i, run in enumerate(waiting):
        if run.candidate not in there:
            there[run.candidate] = find(run.candidate) is not None
        if there[run.candidate]:
            return waiting.pop(i)
    return None


def train_run(run: PlannedRun, trainer: Trainer, *, hub: str, timed: bool, keep_raw: bool = False) -> RunLog:
    """All epochs of one run."""
    candidate = resolve(run.candidate)
    graph = _graph(candidate, trainer)
    log = RunLog()
    folder = Path(tempfile.mkdtemp(prefix="fms-corpus-"))
    try:
        for epoch in range(1, run.horizon + 1):
            target = folder / f"e{epoch:03d}"
            try:
                result = trainer.epoch(
                    candidate,
                    run.hyperparameters,
                    run=int(run.id[:8], 16) % 2**31,
                    epoch=epoch,
                    horizon=run.horizon,
                    previous=None if epoch == 1 else folder / f"e{epoch - 1:03d}",
                    target=target,
                )
            except TrainingFailure as failure:
                log.rows.append(_row(run, epoch, trainer, hub, reason=failure.reason))
                break
            key = None
            if epoch in SKETCHED or epoch == run.horizon:
                key = f"{run.id}/{epoch}"
                log.graphs[key] = refresh(graph, result.weights, result.responses)
                log.plain[key] = plain_statistics(graph.structure, result.weights).astype(np.float16)
                if keep_raw:
                    log.keep(key, result.weights)
            test = trainer.test(candidate, run.hyperparameters, target) if epoch == run.horizon else None
            log.rows.append(_row(run, epoch, trainer, hub, result=result, test=test, sketch=key, timed=timed))
            if epoch > 1:
                shutil.rmtree(folder / f"e{epoch - 1:03d}")
    finally:
        shutil.rmtree(folder)
    return log


def _graph(candidate: Candidate, trainer: Trainer) -> WeightGraph:
    model = build(
        candidate, classes=len(trainer.task.info.classes), image_size=trainer.image_size, seed=trainer.seed
    )
    return describe(model.module, (3, model.input.size, model.input.size))


def _row(
    run: PlannedRun,
    epoch: int,
    trainer: Trainer,
    hub: str,
    *,
    result: EpochResult | None = None,
    test: float | None = None,
    sketch: str | None = None,
    timed: bool = False,
    reason: str | None = None,
) -> Row:
    return Row(
        run=run.id,
        hub=hub,
        task=run.task,
        candidate=run.candidate,
        hyperparameters=json.dumps(run.hyperparameters, sort_keys=True),
        epoch=epoch,
        horizon=run.horizon,
        seed=run.seed,
        train_loss=result.train_loss if result is not None and math.isfinite(result.train_loss) else None,
        validation_score=None if result is None else result.score,
        test_score=test,
        seconds=result.seconds if result is not None and timed else None,
        device=_device_class(trainer.device),
        status="ok" if reason is None else "failed",
        reason=reason,
        sketch=sketch,
    )


def _device_class(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
