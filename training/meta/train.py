"""The process over what trees leave over: its parameters are learned from episodes of many tasks.

Each task's residuals are those of trees that never saw its group, as they will be on a task of a user.
Source of the form: kernels learned over many tasks, M. Patacchiola et al., "Bayesian meta-learning for the
few-shot setting via deep kernels", 2020; M. Wistuba and J. Grabocka, "Few-shot Bayesian optimization with
deep kernel surrogates", 2021.

n, q = rows of context and queries, D = columns of the residual's groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fms_hub.surrogate.inputs import Inputs, concatenate
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.learned import ByStage, has_begun, residual_columns, stages, standing
from fms_hub.surrogate.process import Form, Marginals, Process, predict
from fms_hub.surrogate.scaling import Scaling
from training.meta.episodes import Episode, episode
from training.meta.prior import TREES, Foreseen
from training.meta.table import Table

DROPPED = {"weights": 0.2, "candidate": 0.2}
"""How often an episode goes without a group of inputs."""
LEARNING_RATE = 5e-2
PRIOR_SHARE = 0.3
"""Weight of the queries' density before anything is seen, beside the one after."""
REPORT_EVERY, CHECKS = 50, 24
"""Steps between reports, and episodes of each task that deviations are looked at in."""
_LOG_TAU = math.log(2.0 * math.pi)
_TINY = 1e-12


@dataclass(frozen=True)
class Settings:
    """How long and from which seed.

    Attributes:
        steps: of the process' parameters, one episode each.
        seed: of everything.
        trees: of each sum that foresees scores.
    """

    steps: int = 300
    seed: int = 0
    trees: int = TREES


@dataclass(frozen=True, eq=False)
class Lesson:
    """A task as the process sees it.

    Attributes:
        table: says which rows are which questions.
        columns: (N, D).
        residuals: (N,), scores less what was foreseen without the task's group, over the doubt in that.
    """

    table: Table
    columns: Tensor
    residuals: Tensor

    @classmethod
    def of(cls, foreseen: Foreseen, scaling: Scaling, deviation: NDArray[np.float64]) -> Lesson:
        """From what was foreseen, and how far off that typically is, (N,)."""
        columns = torch.from_numpy(residual_columns(foreseen.table.inputs, scaling))
        residuals = (foreseen.table.scores - foreseen.mean) / deviation
        return cls(foreseen.table, columns, torch.from_numpy(residuals))

    def leaning(self, lean: ByStage) -> Lesson:
        """The same, where what was foreseen leans on the standing of candidates."""
        moved = lean.of(self.table.inputs) * standing(self.table.inputs)
        return replace(self, residuals=self.residuals - torch.from_numpy(moved))


def lean_of(lessons: Sequence[Lesson]) -> ByStage:
    """The lean that leaves the smallest squared residuals, tasks counting alike; 0 where nobody probed."""
    slopes = []
    for begun in (False, True):
        along, square = np.mean([_products(one, begun=begun) for one in lessons], axis=0)
        slopes.append(float(along / max(square, _TINY)))
    return ByStage.by_start(*slopes)


def _products(lesson: Lesson, *, begun: bool) -> tuple[float, float]:
    """Means of standing x residual and of standing squared over questions of one kind, 0 of none."""
    inputs = lesson.table.inputs
    rows = has_begun(inputs) == begun
    if not rows.any():
        return 0.0, 0.0
    stands = standing(inputs)[rows]
    return float(np.mean(stands * lesson.residuals.numpy()[rows])), float(np.mean(np.square(stands)))


def scaling_of(inputs: Sequence[Inputs]) -> Scaling:
    """Of several tasks, each counting the same however many rows it has."""
    most = min(len(part) for part in inputs)
    rng = np.random.default_rng(0)
    return Scaling.of(concatenate([part.rows(rng.choice(len(part), most, replace=False)) for part in inputs]))


def learn(
    groups: tuple[Group, ...],
    lessons: Sequence[Lesson],
    settings: Settings,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Process:
    """The process under which later scores of the lessons' episodes are least surprising.

    Args:
        groups: of the columns.
        lessons: of at least one task.
        settings: steps and seed.
        report: told step and mean loss since the last report, nats a query.
    """
    process = blank(groups)
    process.train()
    optimiser = torch.optim.Adam(process.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    recent: list[float] = []
    for step in range(1, settings.steps + 1):
        rng = np.random.default_rng([settings.seed, step])
        lesson = lessons[int(rng.integers(len(lessons)))]
        absent = frozenset(name for name, share in DROPPED.items() if rng.random() < share)
        loss = _loss(process, lesson, episode(lesson.table, rng), groups, absent)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(process.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        recent.append(float(loss.detach()))
        if step % REPORT_EVERY == 0 or step == settings.steps:
            report(step, float(np.mean(recent)))
            recent = []
    process.eval().requires_grad_(False)
    return process


def blank(groups: tuple[Group, ...]) -> Process:
    """A process with typical parameters and no observations."""
    form = Form(groups, residual=True)
    nothing = torch.zeros(1, form.width, dtype=torch.float64)
    return Process(nothing, nothing[:, 0], form)


@dataclass(frozen=True)
class Misses:
    """How far off predictions were.

    Attributes:
        off: (queries,), in units of the believed deviation.
        stage: (queries,), of the run that was asked about, see `fms_hub.surrogate.learned.stages`.
    """

    off: NDArray[np.float64]
    stage: NDArray[np.int64]


def misses(process: Process, lessons: Sequence[Lesson]) -> Misses:
    """Of fixed episodes of the lessons."""
    off, stage = [], []
    for number, lesson in enumerate(lessons):
        for check in range(CHECKS):
            drawn = episode(lesson.table, np.random.default_rng([number, check]))
            with torch.no_grad():
                believed = _believe(process, lesson, drawn, lesson.columns)
                error = lesson.residuals[drawn.queries] - believed.mean
                off.append((error / believed.variance.sqrt()).numpy())
            stage.append(stages(lesson.table.inputs.rows(drawn.queries)))
    return Misses(np.concatenate(off), np.concatenate(stage))


def _loss(
    process: Process, lesson: Lesson, drawn: Episode, groups: tuple[Group, ...], absent: frozenset[str]
) -> Tensor:
    columns = without(lesson.columns, groups, absent)
    answers = lesson.residuals[drawn.queries]
    before = Episode(drawn.context[:0], drawn.queries)
    after = _surprise(answers, _believe(process, lesson, drawn, columns))
    return after + PRIOR_SHARE * _surprise(answers, _believe(process, lesson, before, columns))


def without(columns: Tensor, groups: tuple[Group, ...], absent: frozenset[str]) -> Tensor:
    """Columns (n, D) in which the named groups are absent."""
    kept = [
        torch.full((group.width + 1,), float(group.name not in absent), dtype=columns.dtype)
        for group in groups
    ]
    return columns * torch.cat(kept)


def _believe(process: Process, lesson: Lesson, drawn: Episode, columns: Tensor) -> Marginals:
    known = lesson.residuals[drawn.context]
    return predict(process, columns[drawn.context], known, columns[drawn.queries])


def _surprise(answers: Tensor, believed: Marginals) -> Tensor:
    """Negative log density, nats a query."""
    off = answers - believed.mean
    return 0.5 * (off.square() / believed.variance + believed.variance.log() + _LOG_TAU).mean()
