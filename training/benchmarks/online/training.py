"""Training one run: at hyperparameters that somebody fixed, or tuning them on the way.

B = batch, h = hyperparameters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fms_hub.finetune.self_tuning.hyperparameters import Tunable
from fms_hub.finetune.self_tuning.network import SelfTuning, fold, responding
from fms_hub.finetune.self_tuning.steps import build_tuner, tuning_step
from fms_hub.seeding import derived_seed, seeded
from training.benchmarks.online.problem import Data, Problem, Regularised

INTERVAL = 2
"""Steps of the weights for each of the hyperparameters."""
WARMUP = 0.05
"""Share of a run in which the hyperparameters rest."""
_CLIP = 1.0

Policy = Callable[[float], Tensor]
"""From the share of the run that is behind it to hyperparameters (h,), unconstrained."""


class Clock:
    """Processor seconds of this process; what is measured for the table alone does not count."""

    def __init__(self) -> None:
        self._began, self._paused = time.process_time(), 0.0

    @property
    def spent(self) -> float:
        """Seconds so far."""
        return time.process_time() - self._began - self._paused

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave out what happens within."""
        began = time.process_time()
        try:
            yield
        finally:
            self._paused += time.process_time() - began


@dataclass(frozen=True)
class Point:
    """A run after an epoch: seconds since its search began, losses in nats, accuracy on test in [0, 1]."""

    seconds: float
    validation: float
    test: float
    test_accuracy: float


@dataclass(frozen=True)
class Run:
    """A run's epochs, and the hyperparameters (h,), unconstrained, before each."""

    points: list[Point] = field(default_factory=list)
    schedule: list[list[float]] = field(default_factory=list)


def train_fixed(
    problem: Problem, policy: Policy, seed: int, clock: Clock, seconds: float, *, spread: float = 0.0
) -> Run:
    """Train a plain network at the hyperparameters of a policy, to the last epoch or until time is up.

    Args:
        problem: what to train.
        policy: the hyperparameters.
        seed: of weights, order and noise.
        clock: of the search.
        seconds: on the clock when training stops, after an epoch.
        spread: standard deviation of a perturbation of each example's hyperparameters.
    """
    network, run = problem.network(seed), Run()
    optimizer = torch.optim.Adam(network.parameters(), lr=problem.rate)
    with seeded(derived_seed("fixed", seed)):
        draw = torch.Generator().manual_seed(seed)
        for epoch in range(problem.epochs):
            run.schedule.append(policy(epoch / problem.epochs).tolist())
            network.train()
            for step, batch in enumerate(_batches(problem.data["train"], problem.batch_size, draw)):
                at = policy((epoch + step / problem.steps()) / problem.epochs)
                noise = spread * torch.randn(len(batch), len(at), generator=draw)
                loss = _training_loss(problem, network, network, batch, at + noise, draw)
                _step(network, optimizer, loss)
            run.points.append(_point(problem, network, clock))
            if clock.spent > seconds:
                break
    return run


def train_tuned(
    problem: Problem, tunables: Sequence[Tunable], seed: int, clock: Clock, seconds: float
) -> Run:
    """Train a self-tuning network from the tunables' starts, to the last epoch or until time is up."""
    examples = problem.prepared(problem.data["train"].inputs[:3])
    tuning, run = responding(problem.network(seed), examples, tunables, seed=seed), Run()
    network, hyper = tuning.network, tuning.hyperparameters
    assert isinstance(network, Regularised)
    optimizer = torch.optim.Adam(network.parameters(), lr=problem.rate)
    tuner, warm = build_tuner(hyper), WARMUP * problem.epochs * problem.steps()
    with seeded(derived_seed("tuned", seed)):
        draw = torch.Generator().manual_seed(seed)
        held = _endless(problem.data["validation"], problem.batch_size, draw)
        for epoch in range(problem.epochs):
            run.schedule.append(hyper.centre.tolist())
            for step, batch in enumerate(_batches(problem.data["train"], problem.batch_size, draw)):
                network.train()
                at = hyper.perturbed(len(batch), draw).detach()
                _step(network, optimizer, _training_loss(problem, network, tuning, batch, at, draw))
                done = epoch * problem.steps() + step
                if done > warm and done % INTERVAL == 0:
                    _tune(problem, tuning, tuner, next(held), draw)
            run.points.append(_point(problem, fold(tuning), clock))
            if clock.spent > seconds:
                break
    return run


def replayed(schedule: Sequence[Sequence[float]]) -> Policy:
    """The hyperparameters that a run had at the same share of it, linear between epochs."""
    table = torch.tensor(schedule)

    def policy(progress: float) -> Tensor:
        place = min(progress * len(table), len(table) - 1.0)
        low = int(place)
        high = min(low + 1, len(table) - 1)
        return torch.lerp(table[low], table[high], place - low)

    return policy


def constant(unconstrained: Sequence[float]) -> Policy:
    """The same hyperparameters all along."""
    at = torch.tensor(unconstrained)
    return lambda progress: at


def values_of(tunables: Sequence[Tunable], unconstrained: Sequence[float]) -> dict[str, float]:
    """Hyperparameters by name, in their own units."""
    return {
        tunable.name: float(tunable.constrain(torch.tensor(value)))
        for tunable, value in zip(tunables, unconstrained, strict=True)
    }


def _training_loss(
    problem: Problem,
    network: Regularised,
    call: Regularised | SelfTuning,
    batch: Data,
    at: Tensor,
    draw: torch.Generator,
) -> Tensor:
    """Loss of a batch, each example regularised at its own hyperparameters (B, h)."""
    values: Mapping[str, Tensor] = {
        tunable.name: tunable.applied(column)
        for tunable, column in zip(problem.tunables, at.unbind(dim=1), strict=True)
    }
    inputs = problem.augmented(batch.inputs, values, draw)
    network.values = values
    logits = call(inputs, at) if isinstance(call, SelfTuning) else call(inputs)
    network.values = {}
    return cross_entropy(logits.flatten(0, -2), batch.labels.flatten()) + network.penalty()


def _step(network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    optimizer.step()


def _tune(
    problem: Problem, tuning: SelfTuning, tuner: torch.optim.Optimizer, batch: Data, draw: torch.Generator
) -> None:
    tuning.eval()
    inputs, labels = problem.prepared(batch.inputs), batch.labels.flatten()

    def loss_at(at: Tensor) -> Tensor:
        return cross_entropy(tuning(inputs, at).flatten(0, -2), labels)

    tuning_step(tuning.hyperparameters, tuner, loss_at, len(batch), draw)


def _point(problem: Problem, network: nn.Module, clock: Clock) -> Point:
    validation = problem.measured(network, "validation").loss
    seconds = clock.spent
    with clock.paused():
        test = problem.measured(network, "test")
    return Point(seconds, validation, test.loss, test.accuracy)


def _batches(data: Data, size: int, draw: torch.Generator) -> Iterator[Data]:
    """Whole batches in a random order."""
    order = torch.randperm(len(data), generator=draw)
    for rows in torch.split(order[: len(order) // size * size], size):
        yield Data(data.inputs[rows], data.labels[rows])


def _endless(data: Data, size: int, draw: torch.Generator) -> Iterator[Data]:
    while True:
        yield from _batches(data, min(size, len(data)), draw)
