"""Runs of other programs: what importers read, checked, and turned into Observations. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fms_hub.errors import CandidateError, UsageError
from fms_hub.records import Observation, Value

NUMBERS = frozenset(
    {
        "learning_rate",
        "weight_decay",
        "momentum",
        "batch_size",
        "dropout",
        "label_smoothing",
        "layer_decay",
        "frozen",
        "augmentation",
    }
)
"""Hyperparameters of the vocabulary that are numbers, at least 0."""


@dataclass(frozen=True)
class Epoch:
    """One epoch of an imported run.

    Attributes:
        number: from 1.
        score: as the source has it, a percentage or in [0, 1]; NaN where the epoch failed.
        train_loss: nats; None if unknown.
        seconds: 0 if unknown.
        failure: why the epoch failed, read where the score is NaN.
    """

    number: int
    score: float
    train_loss: float | None = None
    seconds: float = 0.0
    failure: str = "diverged"


@dataclass(frozen=True)
class Run:
    """One run as its source tells it.

    Attributes:
        name: how messages name it.
        candidate: what was trained; None if the source does not say.
        hyperparameters: by name; None where the source leaves a value open.
        horizon: epochs that were planned; None means as many as the longest run of the source had.
        epochs: in any order.
        hint: why `candidate` is None, for the message that asks for it.
    """

    name: str
    candidate: str | None
    hyperparameters: Mapping[str, Value | None]
    horizon: int | None
    epochs: Sequence[Epoch]
    hint: str = ""


@dataclass(frozen=True)
class Source:
    """All that an importer found.

    Attributes:
        runs: in the order of the source.
        metric: name of the score, in the words of fms_hub where it has one; None if the source does not say.
        percent: whether the scores are percentages by definition of the format.
        notices: what a user should know: things left out, and why.
    """

    runs: Sequence[Run]
    metric: str | None
    percent: bool = False
    notices: tuple[str, ...] = ()


def observations(source: Source, *, candidate: str | None, percent: bool) -> tuple[Observation, ...]:
    """What the runs of a source are in the words of a logbook: run by run, epochs from 1 on.

    Args:
        source: as read.
        candidate: of the runs whose source does not say.
        percent: whether the scores are percentages.

    Raises:
        CandidateError: a run's candidate is unknown, or is another one than the caller says.
        UsageError: there is no run; an epoch is missing or comes twice; a score is outside its range, or
            follows a failure; a hyperparameter is no plain value.
    """
    if not source.runs:
        raise UsageError("expected at least one run with an epoch to import, found none.")
    curves = [_in_order(run) for run in source.runs]
    scale = _scale(curves, source.percent, percent)
    longest = max(len(curve) for _, curve in curves)
    found: list[Observation] = []
    for number, (run, curve) in enumerate(curves):
        trained = _candidate(run, candidate)
        settings = _plain(run)
        horizon = max(run.horizon or longest, len(curve))
        found += [_observation(number, trained, settings, horizon, epoch, scale) for epoch in curve]
    return tuple(found)


def _observation(
    run: int, candidate: str, settings: dict[str, Value], horizon: int, epoch: Epoch, scale: float
) -> Observation:
    failed = math.isnan(epoch.score)
    loss = epoch.train_loss
    return Observation(
        run=run,
        candidate=candidate,
        hyperparameters=settings,
        epoch=epoch.number,
        horizon=horizon,
        score=None if failed else epoch.score / scale,
        train_loss=None if loss is None or not math.isfinite(loss) else loss,
        seconds=epoch.seconds,
        status="failed" if failed else "ok",
        reason=epoch.failure if failed else None,
    )


def _in_order(run: Run) -> tuple[Run, list[Epoch]]:
    """The epochs 1, 2, 3 ... up to the first failed one."""
    curve = sorted(run.epochs, key=lambda epoch: epoch.number)
    numbers = [epoch.number for epoch in curve]
    if not numbers:
        raise UsageError(f"run {run.name!r} has no epoch; leave it out of what is imported.")
    for expected, number in enumerate(numbers, start=1):
        if number < expected:
            raise UsageError(
                f"run {run.name!r} has epoch {number} twice. If these are two runs, give them two names; "
                "if one was resumed, leave one of the rows out."
            )
        if number > expected:
            raise UsageError(
                f"run {run.name!r} has no epoch {expected}, found {_listed(numbers)}. Every epoch from 1 on "
                "is needed: a learning curve with a gap cannot be told from a faster one."
            )
    return run, _until_failure(run, curve)


def _until_failure(run: Run, curve: list[Epoch]) -> list[Epoch]:
    failed = next((i for i, epoch in enumerate(curve) if math.isnan(epoch.score)), None)
    if failed is None:
        return curve
    later = next((epoch for epoch in curve[failed:] if not math.isnan(epoch.score)), None)
    if later is not None:
        raise UsageError(
            f"run {run.name!r}: epoch {curve[failed].number} has no score (NaN), but epoch {later.number} "
            "has one. A failed epoch ends a run; put in the score, or leave the run out."
        )
    return curve[: failed + 1]


def _scale(curves: Sequence[tuple[Run, list[Epoch]]], defined: bool, asked: bool) -> float:
    """100 for percentages, else 1."""
    scored = [(run, e) for run, curve in curves for e in curve if not math.isnan(e.score)]
    top = 100.0 if defined or asked else 1.0
    outside = next(((run, e) for run, e in scored if not 0.0 <= e.score <= top), None)
    highest = max((e.score for _, e in scored), default=top)
    if outside is not None:
        run, epoch = outside
        percent = top == 1.0 and all(0.0 <= e.score <= 100.0 for _, e in scored)
        advice = (
            f"All scores lie in [0, 100]: if they are percentages (the highest is {highest:g}), "
            "say percent=True (--percent)"
            if percent
            else "A score is higher where better; choose another metric, or convert it"
        )
        raise UsageError(
            f"run {run.name!r}, epoch {epoch.number}: a score must lie in [0, {top:g}], found "
            f"{epoch.score:g}. {advice}."
        )
    if asked and not defined and highest <= 1.0:
        raise UsageError(f"the highest score is {highest:g}, so these are no percentages; leave percent out.")
    return top


def _candidate(run: Run, given: str | None) -> str:
    if run.candidate is not None and given is not None and run.candidate != given:
        raise CandidateError(
            f"run {run.name!r} trained {run.candidate!r} by its own log, not {given!r}; leave candidate out."
        )
    name = (run.candidate or given or "").strip()
    if not name:
        raise CandidateError(
            f"run {run.name!r} does not say which candidate it trained{run.hint}. Name it as a search would, "
            "e.g. candidate='timm/resnet18.a1_in1k' (--candidate)."
        )
    return name


def _plain(run: Run) -> dict[str, Value]:
    """Hyperparameters by name, sorted; values left open are left out."""
    settings: dict[str, Value] = {}
    for name, value in sorted(run.hyperparameters.items()):
        if value is None:
            continue
        if not isinstance(value, str | bool | int | float) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise UsageError(
                f"run {run.name!r}: {name} must be a finite number, a word or a truth value, found {value!r}."
            )
        if name in NUMBERS and (isinstance(value, str | bool) or value < 0):
            raise UsageError(f"run {run.name!r}: {name} must be a number of at least 0, found {value!r}.")
        settings[name] = value
    return settings


def number_of(run: str, what: str, value: Any) -> float:
    """A number that a source holds, NaN included.

    Raises:
        UsageError: it is none.
    """
    try:
        if not isinstance(value, bool | None):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise UsageError(f"run {run!r}: {what} must be a number, found {value!r}.")


def _listed(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    return ", ".join(listed if len(listed) < 9 else [*listed[:6], "...", listed[-1]])
