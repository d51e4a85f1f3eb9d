"""The loop: episodes of the training tasks, looked at from time to time on the validation tasks.

Source of the form: deep kernels trained over many tasks, M. Patacchiola et al., "Bayesian meta-learning for
the few-shot setting via deep kernels", 2020; M. Wistuba and J. Grabocka, "Few-shot Bayesian optimization with
deep kernel surrogates", 2021.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.finetune.seeding import seeded
from fms_hub.surrogate.inputs import Inputs, concatenate
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.scaling import Scaling
from training.meta.episodes import Episode, episode
from training.meta.model import Losses, MetaModel
from training.meta.table import Table

DROPPED = {"weights": 0.2, "task": 0.3, "curve": 0.1, "candidate": 0.2}
"""How often an episode goes without a group of inputs, so that missing ones are normal."""
LEARNING_RATE, WEIGHT_DECAY = 3e-3, 1e-2
KERNEL_LEARNING_RATE = 2e-2
CONTEXT_SHARE, PRIOR_SHARE = 0.1, 0.3
"""Weights of the context's marginal likelihood, and of the queries' before anything is seen, beside the
queries' predictive one."""
CHECK_EVERY, CHECKS = 100, 24
"""Steps between looks at the validation tasks, and episodes of each look a task."""


@dataclass(frozen=True)
class Settings:
    """How long and from which seed."""

    steps: int = 1500
    seed: int = 0
    width: int = 64

    def of(self, steps: int) -> Settings:
        """The same with another number of steps."""
        return replace(self, steps=steps)


@dataclass(frozen=True)
class Outcome:
    """The best model of a training, and how it came about.

    Attributes:
        model: in evaluation mode.
        scaling: of the inputs, from the training tasks.
        step: after which it was best.
        validation: (step, loss) of every look, nats a query; empty without validation tasks.
    """

    model: MetaModel
    scaling: Scaling
    step: int
    validation: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class _Scaled:
    """A task's columns (N, D) and scores (N,), and the table that says which rows are which questions."""

    table: Table
    columns: Tensor
    scores: Tensor


def meta_train(
    training: Sequence[Table],
    validation: Sequence[Table],
    settings: Settings,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Outcome:
    """Train on some tasks; the state that does best on others is kept, or the last one if there are none.

    Args:
        training: at least one task.
        validation: tasks that are looked at and not trained on.
        settings: steps, seed, width.
        report: told step and validation loss (training loss if there is no validation) at every look.
    """
    scaling = scaling_of([table.inputs for table in training])
    groups = scaling.groups(training[0].inputs)
    tasks = [_scaled(table, scaling) for table in training]
    held = [_scaled(table, scaling) for table in validation]
    with seeded(settings.seed):
        model = MetaModel(groups, settings.width)
    optimiser = _optimiser(model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group["lr"] for group in optimiser.param_groups], settings.steps, pct_start=0.1
    )
    looks: list[tuple[int, float]] = []
    best = (0, float("inf"), copy.deepcopy(model.state_dict()))
    recent: list[float] = []
    for step in range(1, settings.steps + 1):
        rng = np.random.default_rng([settings.seed, step])
        with seeded(int(rng.integers(2**31))):
            recent.append(_step(model, optimiser, tasks[rng.integers(len(tasks))], rng))
        schedule.step()
        if step % CHECK_EVERY == 0 or step == settings.steps:
            loss = evaluate(model, held) if held else float(np.mean(recent))
            recent = []
            report(step, loss)
            if held:
                looks.append((step, loss))
            if not held or loss < best[1]:
                best = (step, loss, copy.deepcopy(model.state_dict()))
    model.load_state_dict(best[2])
    return Outcome(model.eval(), scaling, best[0], tuple(looks))


def scaling_of(inputs: Sequence[Inputs]) -> Scaling:
    """Of several tasks, each counting the same however many rows it has."""
    most = min(len(part) for part in inputs)
    rng = np.random.default_rng(0)
    return Scaling.of(concatenate([part.rows(rng.choice(len(part), most, replace=False)) for part in inputs]))


def evaluate(model: MetaModel, tasks: Sequence[_Scaled]) -> float:
    """Mean negative log density of queries in fixed episodes of each task, nats a query."""
    model.eval()
    found = []
    with torch.no_grad():
        for number, task in enumerate(tasks):
            for check in range(CHECKS):
                drawn = episode(task.table, np.random.default_rng([number, check]))
                found.append(float(_losses(model, task, drawn, frozenset()).queries))
    return float(np.mean(found))


def deviations(outcome: Outcome, tables: Sequence[Table]) -> NDArray[np.float64]:
    """Errors of the fixed episodes of tasks, in units of the believed deviation, (queries,)."""
    found = []
    for number, table in enumerate(tables):
        task = _scaled(table, outcome.scaling)
        for check in range(CHECKS):
            drawn = episode(table, np.random.default_rng([number, check]))
            context, queries = task.columns[drawn.context], task.columns[drawn.queries]
            with torch.no_grad():
                believed = outcome.model.believe(context, task.scores[drawn.context], queries)
            found.append((task.scores[drawn.queries] - believed.mean) / believed.variance.sqrt())
    return torch.cat(found).numpy()


def _step(
    model: MetaModel, optimiser: torch.optim.Optimizer, task: _Scaled, rng: np.random.Generator
) -> float:
    model.train()
    absent = frozenset(name for name, share in DROPPED.items() if rng.random() < share)
    losses = _losses(model, task, episode(task.table, rng), absent)
    loss = losses.queries + CONTEXT_SHARE * losses.context + PRIOR_SHARE * losses.prior
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return float(losses.queries.detach())


def _losses(model: MetaModel, task: _Scaled, drawn: Episode, absent: frozenset[str]) -> Losses:
    context = without(task.columns[drawn.context], model.groups, absent)
    queries = without(task.columns[drawn.queries], model.groups, absent)
    return model.losses(context, task.scores[drawn.context], queries, task.scores[drawn.queries])


def without(columns: Tensor, groups: tuple[Group, ...], absent: frozenset[str]) -> Tensor:
    """Columns (n, D) in which the named groups are absent."""
    kept = [
        torch.full((group.width + 1,), float(group.name not in absent), dtype=columns.dtype)
        for group in groups
    ]
    return columns * torch.cat(kept)


def _scaled(table: Table, scaling: Scaling) -> _Scaled:
    return _Scaled(table, scaling.columns(table.inputs), torch.from_numpy(table.scores))


def _optimiser(model: MetaModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": list(model.encoder.parameters()), "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY},
            {"params": list(model.process.parameters()), "lr": KERNEL_LEARNING_RATE, "weight_decay": 0.0},
        ]
    )
