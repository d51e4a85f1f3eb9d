"""A search as an Optuna study, for Optuna's own importances, plots and samplers."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ConfigSpace import ConfigurationSpace
from ConfigSpace.hyperparameters import (
    CategoricalHyperparameter,
    FloatHyperparameter,
    IntegerHyperparameter,
    OrdinalHyperparameter,
    UniformFloatHyperparameter,
    UniformIntegerHyperparameter,
)
from ConfigSpace.hyperparameters.hyperparameter import Hyperparameter

from fms_hub.errors import UsageError
from fms_hub.hub.logbook import read_history, read_identity
from fms_hub.records import Observation, Value
from fms_hub.search.space import VOCABULARY, Space, default_space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

CANDIDATE = "candidate"
Unfinished = Literal["complete", "pruned"]


def to_optuna(
    search: Sequence[Observation] | str | Path,
    space: ConfigurationSpace | None = None,
    *,
    unfinished: Unfinished = "complete",
    storage: str | None = None,
    name: str = "fms_hub",
) -> Study:
    """The runs of a search as trials of a study that maximises the score.

    A run becomes a trial: its candidate is the categorical parameter ``candidate``, its active
    hyperparameters are parameters, its scores intermediate values by epoch, its value its best score. A run
    that failed is a failed trial, with the scores it had. The user attributes ``epochs``, ``horizon``,
    ``seconds``, ``reason`` and ``parent`` (of a fork) say what else is known; none names a file.

    Args:
        search: observations, or the folder of a search or of imported runs.
        space: what the hyperparameters were drawn from. None means the default space where the log says so,
            else the range of the values that occur.
        unfinished: what a run of fewer epochs than its horizon becomes. ``"complete"`` trials are those that
            Optuna's importances and most plots look at, and with them the best trial is the best run that did
            not fail; ``"pruned"`` is what samplers expect of a study that is to go on.
        storage: URL of an Optuna storage to write to; None keeps the study in memory.
        name: of the study.

    Raises:
        OutputError, CheckpointError: the folder holds no log, or a damaged one.
        UsageError: Optuna is not installed, there is no run, a hyperparameter is named ``candidate``, or the
            storage has a study of this name.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UsageError("a study needs Optuna, which is not installed: pip install 'fms_hub[optuna]'.")
    if isinstance(search, str | Path):
        history, space = read_history(Path(search)), space or _said(Path(search))
    else:
        history = tuple(search)
    curves: dict[int, list[Observation]] = {}
    for observation in history:
        curves.setdefault(observation.run, []).append(observation)
    if not curves:
        raise UsageError("a study needs at least one run, found none. Export a search that has trained.")
    distributions = _distributions([curve[0] for curve in curves.values()], space)
    study = _create(name, storage)
    study.add_trials([_trial(curve, distributions, unfinished) for curve in curves.values()])
    return study


def _said(folder: Path) -> ConfigurationSpace | None:
    """The default space, if the log says that its search drew from it."""
    standard = default_space()
    return standard if read_identity(folder).get("space") == Space(standard).fingerprint else None


def _create(name: str, storage: str | None) -> Study:
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # or it tells on standard error of a new study
    try:
        return optuna.create_study(study_name=name, direction="maximize", storage=storage)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise UsageError(f"{storage} has a study {name!r} already; choose another name=.") from error
    finally:
        optuna.logging.set_verbosity(verbosity)


def _trial(
    curve: list[Observation], distributions: Mapping[str, BaseDistribution], unfinished: Unfinished
) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    last = curve[-1]
    scores = {o.epoch: o.score for o in curve if o.score is not None}
    whole = last.epoch == last.horizon or unfinished == "complete"
    state = TrialState.COMPLETE if whole else TrialState.PRUNED
    if last.status == "failed":
        state = TrialState.FAIL
    params = {CANDIDATE: last.candidate, **last.hyperparameters}
    attributes: dict[str, int | float | str] = {
        "epochs": last.epoch,
        "horizon": last.horizon,
        "seconds": sum(o.seconds for o in curve),
    }
    if last.parent is not None:
        attributes["parent"] = f"run {last.parent.run} after epoch {last.parent.epoch}"
    return create_trial(
        state=state,
        value=None if state == TrialState.FAIL else max(scores.values()),
        params=params,
        distributions={name: distributions[name] for name in params},
        intermediate_values=scores,
        user_attrs=attributes if last.reason is None else {**attributes, "reason": last.reason},
    )


def _distributions(
    runs: Sequence[Observation], space: ConfigurationSpace | None
) -> dict[str, BaseDistribution]:
    """One distribution for each parameter, the same in all trials."""
    values: dict[str, list[Value]] = {}
    for run in runs:
        for name, value in run.hyperparameters.items():
            values.setdefault(name, []).append(value)
    if CANDIDATE in values:
        raise UsageError(f"a hyperparameter is named {CANDIDATE!r}, which a study calls what was trained.")
    values[CANDIDATE] = [run.candidate for run in runs]
    return {
        name: _of_space(space[name], seen) if space is not None and name in space else _of_values(name, seen)
        for name, seen in values.items()
    }


def _of_space(hyperparameter: Hyperparameter, seen: Sequence[Value]) -> BaseDistribution:
    """The hyperparameter's own range; Optuna knows no order of choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not all(hyperparameter.legal_value(value) for value in seen):
        return _of_values(hyperparameter.name, seen)
    match hyperparameter:
        case OrdinalHyperparameter():
            return CategoricalDistribution(_builtins(hyperparameter.sequence))
        case CategoricalHyperparameter():
            return CategoricalDistribution(_builtins(hyperparameter.choices))
        case FloatHyperparameter():
            log = isinstance(hyperparameter, UniformFloatHyperparameter) and hyperparameter.log
            return FloatDistribution(float(hyperparameter.lower), float(hyperparameter.upper), log=log)
        case IntegerHyperparameter():
            log = isinstance(hyperparameter, UniformIntegerHyperparameter) and hyperparameter.log
            return IntDistribution(int(hyperparameter.lower), int(hyperparameter.upper), log=log)
        case _:
            return _of_values(hyperparameter.name, seen)


def _of_values(name: str, seen: Sequence[Value]) -> BaseDistribution:
    """The range of the values that occur; words and truth values are choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if any(isinstance(value, str | bool) for value in seen):
        return CategoricalDistribution(sorted(set(seen), key=str))
    numbers = [value for value in seen if isinstance(value, int | float)]
    low, high = min(numbers), max(numbers)
    log = name in VOCABULARY and VOCABULARY[name].log and low > 0
    if isinstance(low, int) and isinstance(high, int) and all(isinstance(n, int) for n in numbers):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _builtins(values: Sequence[object]) -> list[Value]:
    """Choices as Python's own types, which a storage can keep."""
    from numpy import generic

    return [value.item() if isinstance(value, generic) else value for value in values]  # type: ignore[misc]
