"""Methods that say how every run of a pool will end, for the table of rank correlations.

A predictor is judged by what it makes of the same epochs as all others: those of a random search. What its
own search would have shown it is another row, because a search that looks for the best run sees little of
the rest. n = runs of the pool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor

from fms_hub.seeding import seeded
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached import dyhpo, halving
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.ours import WITHOUT_WEIGHTS, Ours, State
from training.benchmarks.cached.reading import (
    Checkpoints,
    Encoder,
    ReadingKernel,
    flat,
    functional,
    metanetwork,
)

Vector = NDArray[np.float64]
TREES = 100
_ABSENT = -5.0
"""What trees are shown where a group of inputs is absent."""


class Ranker(Protocol):
    """Spends the budget and predicts the final scores of all runs, (n,); higher is better."""

    def __call__(self, environment: Environment, rng: np.random.Generator) -> Vector:
        """Search, then predict."""


Make = Callable[[Surrogate | None], Ranker]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: as on the command line.
        note: what the table says of it.
        make: builds the ranker, given a surrogate that was meta-trained without the judged tasks, or None.
        taught: whether it needs that surrogate.
        seconds: about how long a search over 100 epochs takes on one busy core.
        raw: whether it reads weights, which must have been kept.
    """

    name: str
    note: str
    make: Make
    taught: bool
    seconds: float
    raw: bool = False


@dataclass(frozen=True)
class ByOurs:
    """A surrogate of ours.

    Attributes:
        ours: it, with its search.
        own: whether that search spends the budget, not a random one.
    """

    ours: Ours
    own: bool = False

    def __call__(self, environment: Environment, rng: np.random.Generator) -> Vector:
        """Search, then the posterior mean at every horizon."""
        with suppress(BudgetSpent):
            (self.ours if self.own else randomly)(environment, rng)
        return self.ours.finals(environment).mean


@dataclass(frozen=True)
class ByDyHPO:
    """DyHPO; after the search its kernel is fitted from new parameters.

    Attributes:
        steps: of all fits.
        curve: whether it is shown learning curves, in the last fit.
        own: whether DyHPO spends the budget, not a random search.
        encoder: of weights, which it is shown in the last fit; None where it does not see them.
    """

    steps: dyhpo.Steps
    curve: bool = True
    own: bool = False
    encoder: Encoder | None = None

    def __call__(self, environment: Environment, rng: np.random.Generator) -> Vector:
        """Search, then the posterior mean at every horizon."""
        with suppress(BudgetSpent):
            (dyhpo.DyHPO(self.steps) if self.own else randomly)(environment, rng)
        encoded = dyhpo.configurations(environment)
        rows = dyhpo.Rows.of(environment, encoded)
        runs = np.arange(len(encoded))
        horizons = np.array([c.horizon for c in environment.configurations], dtype=np.int64)
        x, curves = dyhpo.inputs(environment, encoded, runs, horizons)
        if not self.curve:
            rows, curves = replace(rows, curves=torch.zeros_like(rows.curves)), torch.zeros_like(curves)
        with seeded(int(rng.integers(2**31))):
            if self.encoder is None:
                model = dyhpo.DeepKernel(encoded.shape[1]).double()
            else:
                checkpoints = Checkpoints.of(environment)
                model = ReadingKernel(encoded.shape[1], checkpoints, self.encoder)
                paid = np.array([(o.run, o.epoch) for o in environment.history])
                rows = replace(rows, x=checkpoints.beside(rows.x, paid[:, 0], paid[:, 1]))
                x = checkpoints.beside(x, runs, horizons)
            dyhpo.fit(model, rows, self.steps.first, self.steps.rate)
        return model.posterior((rows.x, rows.curves, rows.y), x, curves).mean


@dataclass(frozen=True)
class Trees:
    """Random runs one epoch at a time, then extra trees on the surrogate's own inputs.

    Attributes:
        without: groups of inputs that are left out.
    """

    without: frozenset[str] = frozenset()

    def __call__(self, environment: Environment, rng: np.random.Generator) -> Vector:
        """Fit to the questions that the search answered, predict the horizon."""
        with suppress(BudgetSpent):
            randomly(environment, rng)
        state = State(environment, self.without)
        inputs, scores = state.known()
        model = ExtraTreesRegressor(
            TREES, max_features=1 / 3, min_samples_leaf=2, random_state=int(rng.integers(2**31))
        )
        asked = state.asked(np.arange(state.runs), state.horizons)
        found: Vector = model.fit(_columns(inputs), scores).predict(_columns(asked))
        return found


def _at_random(environment: Environment, rng: np.random.Generator) -> Vector:
    return rng.uniform(size=len(environment.configurations))


def randomly(environment: Environment, rng: np.random.Generator) -> None:
    """Half of the epochs go to new runs, half to runs under way."""
    order = list(halving.shuffled(environment, rng))
    going: list[int] = []
    while order or going:
        if order and (not going or rng.random() < 0.5):
            going.append(order.pop())
            index = going[-1]
        else:
            index = int(rng.choice(going))
        if environment.advance(index).done:
            going.remove(index)


def _columns(inputs: Inputs) -> Vector:
    blocks = [
        inputs.hyperparameters,
        inputs.fidelity,
        inputs.curve,
        inputs.weights,
        inputs.candidate[:, None].astype(np.float64),
    ]
    return np.nan_to_num(np.hstack(blocks), nan=_ABSENT)


def _taught(without: frozenset[str] = frozenset(), *, own: bool = False) -> Make:
    def make(surrogate: Surrogate | None) -> Ranker:
        assert surrogate is not None
        return ByOurs(Ours(surrogate, without=without), own)

    return make


def _scratch(without: frozenset[str] = frozenset(), *, own: bool = False) -> Make:
    return lambda _: ByOurs(Ours(Surrogate(), without=without), own)


def _reading(encoder: Encoder, *, curve: bool = True) -> Make:
    return lambda _: ByDyHPO(dyhpo.Steps(), curve, encoder=encoder)


_CURVE = frozenset({"curve"})
_ALL = (
    Row("fms", "ours, meta-trained", _taught(), True, 3),
    Row("fms-no-curve", "without the curve", _taught(_CURVE), True, 3),
    Row("fms-no-weights", "without weights", _taught(WITHOUT_WEIGHTS), True, 3),
    Row("scratch", "additive kernels, weights, these epochs alone", _scratch(), False, 3),
    Row("scratch-no-curve", "the same without the curve", _scratch(_CURVE), False, 3),
    Row("gp", "additive kernels without weights, these epochs alone", _scratch(WITHOUT_WEIGHTS), False, 3),
    Row("trees", "extra trees on the same inputs", lambda _: Trees(), False, 1),
    Row("trees-no-weights", "without weights", lambda _: Trees(WITHOUT_WEIGHTS), False, 1),
    Row("dyhpo", "DyHPO's deep kernel, 1,000 Adam steps", lambda _: ByDyHPO(dyhpo.Steps()), False, 6),
    Row(
        "dyhpo-no-curve",
        "the same without the curve",
        lambda _: ByDyHPO(dyhpo.Steps(), curve=False),
        False,
        6,
    ),
    Row("fms-search", "ours, meta-trained, after its own search", _taught(own=True), True, 20),
    Row("scratch-search", "additive kernels, after their own search", _scratch(own=True), False, 30),
    Row(
        "dyhpo-search",
        "DyHPO after its own search, 10 x 1,000 Adam steps, then 50",
        lambda _: ByDyHPO(dyhpo.Steps(), own=True),
        False,
        60,
    ),
    Row("gmn", "DyHPO's kernel and a metanetwork over weights", _reading(metanetwork), False, 30, raw=True),
    Row("gmn-no-curve", "without the curve", _reading(metanetwork, curve=False), False, 30, raw=True),
    Row("nfn", "DyHPO's kernel and a neural functional network", _reading(functional), False, 30, raw=True),
    Row("nfn-no-curve", "without the curve", _reading(functional, curve=False), False, 30, raw=True),
    Row("flat", "DyHPO's kernel and flattened weights", _reading(flat), False, 10, raw=True),
    Row("flat-no-curve", "without the curve", _reading(flat, curve=False), False, 10, raw=True),
    Row("random", "at random", lambda _: _at_random, False, 0.01),
)
ROWS: Mapping[str, Row] = {row.name: row for row in _ALL}
