"""`recommend`: what to fine-tune and how, before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from fms_hub.errors import UsageError
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.catalog import resolve
from fms_hub.models.downloads import require_within, terms_of
from fms_hub.records import Value
from fms_hub.search.belief import Belief, Forecast
from fms_hub.search.candidates import Candidates, describe_candidates, measure_seconds
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem, problem_of
from fms_hub.search.inquire import inquire, probe_candidate
from fms_hub.search.progress import counting_bar
from fms_hub.search.proposals import Configuration
from fms_hub.search.space import Space
from fms_hub.surrogate.naming import Named, resolve_surrogate
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.dataset import load_task
from fms_hub.tasks.task import Task

if TYPE_CHECKING:
    import datasets

DRAWS = 128
"""Configurations looked at for each candidate, besides the default one."""


@dataclass(frozen=True)
class Advice:
    """A candidate with the configuration that promises most for it.

    Attributes:
        candidate: name.
        hyperparameters: active ones.
        score: predicted validation score after a full run, in [0, 1].
        low, high: ends of a 90 % interval around it, in [0, 1].
        seconds: predicted wall-clock time of a full run on this device.
        outside: how far the architecture lies beyond those that meta-training saw, see
            `fms_hub.search.belief.Belief.outside`.
    """

    candidate: str
    hyperparameters: Mapping[str, Value]
    score: float
    low: float
    high: float
    seconds: float
    outside: float


@dataclass(frozen=True)
class Recommendation:
    """What to fine-tune on a dataset, best first.

    Attributes:
        task: name of the dataset.
        surrogate: name of the surrogate that says so.
        epochs: of a full run.
        metric: of the scores.
        advice: one for each candidate, at most as many as were asked for.
        unknown: hyperparameters of the space that the surrogate knows nothing of.
    """

    task: str
    surrogate: str
    epochs: int
    metric: str
    advice: tuple[Advice, ...]
    unknown: tuple[str, ...]

    @property
    def best(self) -> Advice:
        """The first."""
        return self.advice[0]

    def to_json(self) -> list[dict[str, Any]]:
        """One object for each piece of advice, as plain JSON values."""
        return [{**asdict(item), "hyperparameters": dict(item.hyperparameters)} for item in self.advice]


def recommend(
    dataset: str | os.PathLike[str] | datasets.Dataset | datasets.DatasetDict | Task,
    candidates: Candidates = None,
    *,
    surrogate: Named = None,
    top: int = 5,
    probe: bool = False,
    max_epochs: int = 12,
    metric: str = "accuracy",
    space: ConfigurationSpace | None = None,
    seed: int = 0,
    device: str | None = None,
    image_size: int | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
    revision: str | None = None,
    skip_bad: bool = False,
    max_download: str | int | None = None,
    progress: bool = True,
) -> Recommendation:
    """Rank candidates and configurations for a dataset without training any of them.

    A meta-trained surrogate is asked how full runs would end: for every candidate the default configuration
    and a sample of the space. Seconds come from two training steps of each candidate on this device.

    Args:
        dataset, candidates, metric, space, seed, device, image_size, image_column, label_column, revision,
            skip_bad, max_download, progress: as in `fms_hub.select`.
        surrogate: a meta-trained one, or what names it as in `fms_hub.select`; None means the bundled one.
        top: most candidates in the answer, >= 1.
        probe: look at every candidate's features of a sample of the training images first.
        max_epochs: of a full run, >= 1.

    Returns:
        One configuration for each of the best candidates, best first.

    Raises:
        UsageError: what was given cannot be used, or the surrogate is not meta-trained.
        HubError: a dataset, candidate or surrogate could not be fetched.
    """
    model = resolve_surrogate(surrogate)
    _check(model, top, max_epochs)
    chosen = resolve(candidates)
    require_within(terms_of(chosen), max_download, shown=progress)
    task = load_task(
        dataset,
        image_column=image_column,
        label_column=label_column,
        revision=revision,
        seed=seed,
        skip_bad=skip_bad,
        progress=counting_bar("checking images", shown=progress),
    )
    trainer = Trainer(task, metric=metric, image_size=image_size, device=device, seed=seed)
    graphs = describe_candidates(chosen, trainer, progress=progress)
    names = [candidate.name for candidate in chosen]
    known = inquire(model, chosen, graphs, trainer)
    if probe:
        bar = counting_bar("probing candidates", shown=progress)
        for number, candidate in enumerate(chosen, start=1):
            known = known.after(probe_candidate(candidate, trainer), len(task.info.classes))
            bar(number, len(chosen))
    problem = problem_of(names, Space(space), max_epochs, task.info, graphs, known)
    cost = CostModel.prior(names, measure_seconds(chosen, trainer, progress=progress))
    advice = sorted(
        (advise(model, problem, name, cost, seed) for name in names), key=lambda item: -item.score
    )
    learned = () if model.learned is None else model.learned.hyperparameters
    unknown = tuple(name for name in problem.space.unknown if name not in learned)
    return Recommendation(task.info.name, model.name, max_epochs, metric, tuple(advice[:top]), unknown)


def advise(surrogate: Surrogate, problem: Problem, candidate: str, cost: CostModel, seed: int) -> Advice:
    """The configuration of a candidate whose full run is predicted to end best.

    Args:
        surrogate: meta-trained.
        problem: of the search.
        candidate: name.
        cost: of epochs.
        seed: of the sample of the space.
    """
    belief = Belief(problem, surrogate)
    drawn = [problem.space.default(), *problem.space.sample(DRAWS, seed)]
    configurations = [Configuration(candidate, values) for values in drawn]
    believed = belief.full_runs(configurations)
    best = int(np.argmax(believed.mean))
    forecast = Forecast.of(believed, best)
    seconds = cost.seconds([(candidate, drawn[best])])[0]
    return Advice(
        candidate,
        drawn[best],
        score=forecast.score,
        low=forecast.low,
        high=forecast.high,
        seconds=problem.horizon * float(seconds),
        outside=belief.outside([candidate])[candidate],
    )


def _check(surrogate: Surrogate, top: int, max_epochs: int) -> None:
    if surrogate.learned is None:
        raise UsageError(
            f"the surrogate {surrogate.name!r} is not meta-trained, so it knows nothing before a search; "
            "name one of the Hub ('organisation/name') or a file of `python -m training.meta_train`, or use "
            "select."
        )
    for name, value in (("top", top), ("max_epochs", max_epochs)):
        if value < 1:
            raise UsageError(f"{name} must be at least 1, found {value}.")
