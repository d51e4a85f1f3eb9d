"""The methods of the comparison, by name.

A method is anything that can be called with an `Environment` and a generator and spends the budget: it reads
what the environment offers, advances runs, and never looks behind it (`training.benchmarks.cached.leaks`
finds out). It may end early, by returning or by `Exhausted`, where it knows no more runs to train.

To add one, write a maker, which gets the `Setting` that it may learn from, and name it in `METHODS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import numpy as np

from fms_hub.records import Observation
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached import halving, portfolio
from training.benchmarks.cached.dyhpo import DyHPO, Steps
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.ours import Ours
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.snapping import Exhausted


class Search(Protocol):
    """A search: ends by `BudgetSpent`, `Exhausted`, or on its own."""

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Spend the budget."""


@dataclass(frozen=True)
class Setting:
    """What a method may know besides the environment.

    Attributes:
        training: pools to learn from, by task; none of the judged group.
        probes: scores of candidates on the judged task before training, higher is better, by the probe's name
            (``"logme"``, ``"linear probe"``) and the candidate's; their cost is not charged.
        surrogate: that was meta-trained without the judged group, if there is one.
        quick: whether a rough and fast form is wanted, for trying out.
    """

    training: Mapping[str, Pool] = field(default_factory=dict)
    probes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    surrogate: Surrogate | None = None
    quick: bool = False


class Unavailable(Exception):
    """A method cannot be used in a setting; the message says why."""


@dataclass(frozen=True)
class Method:
    """A row of the table.

    Attributes:
        name: as on the command line.
        note: what the table says of it.
        make: builds the search, or raises `Unavailable`.
        seconds: about how long a search over 200 epochs takes on one busy core.
        snaps: whether it proposes points of the space, which snap to the nearest untried row.
    """

    name: str
    note: str
    make: Callable[[Setting], Search]
    seconds: float
    snaps: bool = False


def run(search: Search, environment: Environment, seed: int) -> tuple[Observation, ...]:
    """Run a search to its end and return what it paid for."""
    with suppress(BudgetSpent, Exhausted):
        search(environment, np.random.default_rng(seed))
    return environment.history


def _random(environment: Environment, rng: np.random.Generator) -> None:
    halving.run_through(environment, halving.shuffled(environment, rng))


def _random_halving(environment: Environment, rng: np.random.Generator) -> None:
    halving.successive_halving(environment, halving.shuffled(environment, rng))


def _random_hyperband(environment: Environment, rng: np.random.Generator) -> None:
    halving.hyperband(environment, halving.shuffled(environment, rng))


def _portfolio(setting: Setting, *, halved: bool) -> Search:
    members = portfolio.build(list(setting.training.values()))
    if not members:
        raise Unavailable("there are no tasks to learn a portfolio from")

    def search(environment: Environment, rng: np.random.Generator) -> None:
        order = portfolio.rows(environment, members)
        (halving.successive_halving if halved else halving.run_through)(environment, order)

    return search


def _probed_first(setting: Setting, probe: str) -> Search:
    scores = setting.probes.get(probe)
    if scores is None:
        raise Unavailable(f"there is no {probe} of the candidates on this task")
    if len(scores) < 2:
        raise Unavailable("there is one candidate only")

    def search(environment: Environment, rng: np.random.Generator) -> None:
        halving.hyperband(environment, _by_probe(environment, scores, rng))

    return search


def _by_probe(
    environment: Environment, scores: Mapping[str, float], rng: np.random.Generator
) -> Iterator[int]:
    """The rows of the best candidate in random order, then those of the next; without a score last."""
    names = [row.candidate for row in environment.configurations]
    order = sorted(halving.shuffled(environment, rng), key=lambda i: -scores.get(names[i], -np.inf))
    return iter(order)


def _dyhpo(setting: Setting) -> Search:
    return DyHPO(Steps(first=20, later=10) if setting.quick else Steps())


def _fms(setting: Setting) -> Search:
    if setting.surrogate is None:
        raise Unavailable("there is no surrogate that was meta-trained without this task")
    return Ours(setting.surrogate)


def _peer(module: str, name: str, *arguments: Any) -> Callable[[Setting], Search]:
    """A search of another library, which is imported when it is made."""

    def make(setting: Setting) -> Search:
        try:
            loaded = import_module(f"training.benchmarks.cached.{module}")
        except ModuleNotFoundError as error:
            raise Unavailable(f"{error.name} is not installed") from error
        search: Search = getattr(loaded, name)(*arguments)
        return search

    return make


def _optuna(sampler: str, pruner: str) -> Callable[[Setting], Search]:
    return _peer("peers_optuna", "OptunaSearch", sampler, pruner)


def _syne_tune(kind: str) -> Callable[[Setting], Search]:
    return _peer("peers_syne_tune", "SyneTuneSearch", kind)


_ALL = (
    Method("fms", "ours, meta-trained, EI at the horizon per epoch until then", _fms, 17),
    Method("fms-scratch", "ours, from this search alone", lambda _: Ours(Surrogate()), 60),
    Method("random", "random runs to their ends", lambda _: _random, 0.1),
    Method("random-halving", "random, successive halving, eta 3", lambda _: _random_halving, 0.1),
    Method("random-hyperband", "random, Hyperband, eta 3", lambda _: _random_hyperband, 0.1),
    Method("optuna-tpe-hyperband", "Optuna TPE, Hyperband", _optuna("tpe", "hyperband"), 1, True),
    Method("optuna-tpe-halving", "Optuna TPE, successive halving", _optuna("tpe", "halving"), 2, True),
    Method("optuna-gp-hyperband", "Optuna GP, Hyperband", _optuna("gp", "hyperband"), 15, True),
    Method("optuna-gp-halving", "Optuna GP, successive halving", _optuna("gp", "halving"), 60, True),
    Method("syne-tune-asha", "syne-tune ASHA (stopping)", _syne_tune("asha"), 0.2, True),
    Method("syne-tune-bohb", "syne-tune BOHB", _syne_tune("bohb"), 7, True),
    Method("syne-tune-cqr", "syne-tune CQR, full runs", _syne_tune("cqr"), 30, True),
    Method(
        "syne-tune-asha-cqr", "syne-tune CQR with ASHA, fit every 2 runs", _syne_tune("asha-cqr"), 50, True
    ),
    Method("portfolio", "static portfolio, full runs", lambda s: _portfolio(s, halved=False), 1, True),
    Method(
        "portfolio-halving",
        "static portfolio, successive halving",
        lambda s: _portfolio(s, halved=True),
        1,
        True,
    ),
    Method("logme-first", "by LogME, then Hyperband", lambda s: _probed_first(s, "logme"), 0.1),
    Method("probe-first", "by linear probe, then Hyperband", lambda s: _probed_first(s, "linear probe"), 0.1),
    Method("dyhpo", "DyHPO, 10 x 1,000 Adam steps, then 50 every 10 epochs", _dyhpo, 60),
)
METHODS: Mapping[str, Method] = {method.name: method for method in _ALL}
