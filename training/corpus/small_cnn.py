"""The sweep of the small-cnn hub: `python -m training.corpus small-cnn`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fms_hub.corpus.shards import Row
from fms_hub.seeding import seeded
from fms_hub.tasks.task import Split, Task
from fms_hub.weights.describe import describe
from training.corpus.claims import Claims
from training.corpus.plan import PlannedRun, keeps_raw
from training.corpus.register import Register
from training.corpus.runlog import RunLog, Sink
from training.corpus.small_net import CANDIDATE, PIXELS, SmallCNN, initialise
from training.corpus.tasks import read_task

HUB = "small-cnn"
SKETCHED = (0, 1, 2, 4, 8)
"""Epochs whose weights are sketched, besides the last one."""
EPOCH_IMAGES = 2000
"""An epoch is this many images, or the training set if it is smaller."""
RUNS_PER_SHARD = 25
_TRAIN, _VALIDATION, _TEST = 10_000, 1_000, 2_000
"""Most images of each split; the validation split is cut from a dataset's first `_TRAIN`."""


@dataclass(frozen=True)
class GreyTask:
    """A task as the networks see it: grey images (n, 1, PIXELS, PIXELS), standardised, and labels (n,)."""

    classes: int
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, task: Task) -> GreyTask:
        """Reduce a task to grey images of one size."""
        train = _grey(task.train, _TRAIN)
        centre, spread = train[0].mean(), train[0].std()
        parts = (train, _grey(task.validation, _VALIDATION), _grey(task.test, _TEST))
        scaled = [
            (((x - centre) / spread).contiguous(memory_format=torch.channels_last), y) for x, y in parts
        ]
        return cls(len(task.info.classes), *scaled)


def sweep(
    planned: Iterator[PlannedRun], *, data: Path, out: Path, runs: int, seconds: float, raw_every: int = 8
) -> int:
    """Train the first ``runs`` planned runs that no shard holds yet; returns how many were trained.

    Args:
        planned: see `training.corpus.small_net.plan`.
        data: folder of the dataset files, or a pack.
        out: folder of the shards.
        runs: of the whole sweep, those trained before included.
        seconds: time limit.
        raw_every: the weights of about one run in this many are kept; which ones follows from their ids.
    """
    deadline = time.monotonic() + seconds
    tasks: dict[str, GreyTask] = {}
    trained = 0
    with Claims(out) as claims, Sink(claims, RUNS_PER_SHARD) as sink:
        register = Register(out, HUB)
        register.candidate(CANDIDATE)
        for run in islice(planned, runs):
            if time.monotonic() > deadline:
                break
            if not claims.take(run.id):
                continue
            if run.task not in tasks:
                tasks[run.task] = read_small_task(data, run.task, register)
            sink.add(train_run(run, tasks[run.task], keep_raw=keeps_raw(run, raw_every)))
            trained += 1
    return trained


def read_small_task(data: Path, name: str, register: Register) -> GreyTask:
    """Read a task as the networks see it, and put it into the table of tasks.

    Raises:
        Fault: the table has it with other images.
    """
    task = read_task(data, name, _TRAIN)
    register.task(name, task, data, images=_TRAIN, image_size=PIXELS, metric="accuracy")
    return GreyTask.of(task)


def train_run(run: PlannedRun, task: GreyTask, *, keep_raw: bool) -> RunLog:
    """Train one run from its initialisation to its horizon, or until it diverges."""
    values = run.hyperparameters
    log = RunLog()
    with seeded(int(run.id[:15], 16)):
        net = SmallCNN(task.classes, str(values["activation"]), float(values["dropout"]))
        initialise(net, str(values["initialisation"]), float(values["initial_scale"]))
        optimiser = _optimiser(net, values)
        size = len(task.train[1])
        subset = torch.randperm(size)[: max(int(size * float(values["train_fraction"])), 1)]
        for epoch in range(run.horizon + 1):
            loss = (
                None if epoch == 0 else _train_epoch(net, optimiser, task, subset, int(values["batch_size"]))
            )
            if not all(bool(p.isfinite().all()) for p in net.parameters()):
                log.rows.append(row_after(run, epoch, status="failed", reason="diverged"))
                break
            row = row_after(run, epoch, train_loss=loss, validation_score=_accuracy(net, task.validation))
            if epoch == run.horizon:
                row = replace(row, test_score=_accuracy(net, task.test))
            if epoch in SKETCHED or epoch == run.horizon:
                row = replace(row, sketch=f"{run.id}/{epoch}")
                keep(log, f"{run.id}/{epoch}", net, raw=keep_raw)
            log.rows.append(row)
    return log


def keep(log: RunLog, key: str, net: SmallCNN, *, raw: bool) -> None:
    """Add the weight graph of a network on the CPU to the log, and with ``raw`` its weights."""
    log.graphs[key] = describe(net, (1, PIXELS, PIXELS))
    if raw:
        log.keep(key, net.state_dict())


def _optimiser(net: nn.Module, values: Mapping[str, object]) -> torch.optim.Optimizer:
    rate, decay = float(str(values["learning_rate"])), float(str(values["weight_decay"]))
    if values["optimiser"] == "sgd":
        return torch.optim.SGD(net.parameters(), rate, momentum=0.9, weight_decay=decay, fused=True)
    if values["optimiser"] == "adam":
        return torch.optim.Adam(net.parameters(), rate, weight_decay=decay, fused=True)
    return torch.optim.RMSprop(net.parameters(), rate, weight_decay=decay, foreach=True)


def _train_epoch(
    net: nn.Module, optimiser: torch.optim.Optimizer, task: GreyTask, subset: Tensor, batch_size: int
) -> float | None:
    """Mean loss over the epoch's images; None where it is not finite."""
    net.train()
    order = subset[torch.randperm(len(subset))[:EPOCH_IMAGES]]
    total = torch.zeros(())
    for batch in torch.split(order, batch_size):
        loss = F.cross_entropy(net(task.train[0][batch]), task.train[1][batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        total += loss.detach() * len(batch)
    mean = float(total) / len(order)
    return mean if np.isfinite(mean) else None


def _accuracy(net: nn.Module, split: tuple[Tensor, Tensor]) -> float:
    net.eval()
    images, labels = split
    with torch.no_grad():
        right = sum(
            int((net(x).argmax(1) == y).sum().item())
            for x, y in zip(torch.split(images, 250), torch.split(labels, 250), strict=True)
        )
    return right / len(labels)


def row_after(
    run: PlannedRun,
    epoch: int,
    *,
    train_loss: float | None = None,
    validation_score: float | None = None,
    status: str = "ok",
    reason: str | None = None,
    device: str = "cpu",
) -> Row:
    """The row of one run after one epoch, without a sketch and a test score."""
    return Row(
        run=run.id,
        hub=HUB,
        task=run.task,
        candidate=run.candidate,
        hyperparameters=json.dumps(run.hyperparameters, sort_keys=True),
        epoch=epoch,
        horizon=run.horizon,
        seed=run.seed,
        train_loss=train_loss,
        validation_score=validation_score,
        test_score=None,
        seconds=None,
        device=device,
        status=status,
        reason=reason,
        sketch=None,
    )


def _grey(split: Split, most: int) -> tuple[Tensor, Tensor]:
    chosen = np.random.default_rng(0).permutation(len(split.labels))[:most]
    pixels: list[NDArray[np.uint8]] = [
        np.asarray(split.images[int(i)].convert("L").resize((PIXELS, PIXELS))) for i in chosen
    ]
    return torch.from_numpy(np.stack(pixels)[:, None] / np.float32(255)), torch.from_numpy(
        split.labels[chosen]
    )
