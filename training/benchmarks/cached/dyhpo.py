"""DyHPO, written from its paper.

Source: M. Wistuba, A. Kadra, J. Grabocka, "Supervising the Multi-Fidelity Race of Hyperparameter
Configurations" (NeurIPS 2022). n = observations, F = features of a configuration, T = horizon.

A Gaussian process with a squared exponential kernel over phi(x, y_1 .. y_{j-1}, j): the configuration and
its budget j / T go through a multilayer perceptron, the learning curve up to the budget before through a
convolution of length 3 and a maximum over time, and a last layer joins both. Everything is fitted together
by Adam on the marginal likelihood: 1,000 steps for each of the first fits, 50 from where it stood for later
ones. Next is the configuration with the highest expected improvement one epoch ahead (eq. 4), over the best
score seen at that epoch, or anywhere if nobody got there; it is trained for one epoch.

Departures: scores are standardised before a fit; a failed run counts as score 0 and is not gone on with;
between two fits new observations are conditioned on with the parameters as they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fms_hub.search.acquisition import incumbents, log_expected_improvement
from fms_hub.seeding import seeded
from fms_hub.surrogate.posterior import Posterior
from training.benchmarks.cached.environment import Environment

_JITTER = 1e-4


@dataclass(frozen=True)
class Steps:
    """How long DyHPO fits.

    Attributes:
        first: Adam steps of each of the first fits, from new parameters.
        firsts: after so many observations each is followed by such a fit.
        later: Adam steps of later fits, which go on from the parameters of the one before.
        every: observations between two later fits.
        rate: of Adam.
    """

    first: int = 1000
    firsts: int = 10
    later: int = 50
    every: int = 10
    rate: float = 1e-3

    def due(self, observations: int) -> int:
        """Steps to take after so many observations; 0 for none."""
        if observations <= self.firsts:
            return self.first
        return self.later if observations % self.every == 0 else 0


class DeepKernel(nn.Module):
    """The kernel's features and the process' parameters.

    Args:
        features: F.
        more: width of what `read` gives besides the dense layer.
    """

    def __init__(self, features: int, more: int = 0) -> None:
        super().__init__()
        self.dense = nn.Sequential(nn.Linear(features + 1, 64), nn.LeakyReLU())
        self.curve = nn.Linear(3, 4)
        self.joint = nn.Linear(64 + more + 4, 128)
        self.length = nn.Parameter(torch.zeros(()))
        self.scale = nn.Parameter(torch.zeros(()))
        self.noise = nn.Parameter(torch.tensor(-2.0))
        self.mean = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, curves: Tensor) -> Tensor:
        """Features (n, 128) of configurations with budgets (n, F + 1) and curves (n, T)."""
        windows = nn.functional.pad(curves, (1, 1)).unfold(1, 3, 1)
        seen = torch.relu(self.curve(windows)).amax(1)
        found: Tensor = self.joint(torch.cat([*self.read(x), seen], 1))
        return found

    def read(self, x: Tensor) -> list[Tensor]:
        """What is made of everything but the curves, (n, 64) and more."""
        return [self.dense(x)]

    def covariance(self, a: Tensor, b: Tensor) -> Tensor:
        """Squared exponential of features (n, 128) and (m, 128): (n, m)."""
        squares = a.square().sum(1)[:, None] + b.square().sum(1)[None]
        squared = (squares - 2 * a @ b.T).clamp_min(0.0)
        found: Tensor = self.scale.exp() * torch.exp(
            -0.5 * squared * torch.exp(-2 * self.length) / a.shape[1]
        )
        return found

    def factor(self, features: Tensor) -> Tensor:
        """Cholesky factor of the covariance of noisy scores, (n, n)."""
        noise = (self.noise.exp() + _JITTER) * torch.eye(len(features), dtype=features.dtype)
        factor: Tensor = torch.linalg.cholesky(self.covariance(features, features) + noise)
        return factor

    def loss(self, x: Tensor, curves: Tensor, y: Tensor) -> Tensor:
        """Negative logarithm of the marginal likelihood of scores (n,), per observation."""
        factor = self.factor(self(x, curves))
        white = torch.linalg.solve_triangular(factor, (y - self.mean)[:, None], upper=False)
        fit = 0.5 * white.square().sum() + factor.diagonal().log().sum()
        found: Tensor = fit / len(y) + 0.5 * math.log(2 * math.pi)
        return found

    def posterior(self, known: tuple[Tensor, Tensor, Tensor], x: Tensor, curves: Tensor) -> Posterior:
        """Marginals of noisy scores at m queries, given n observations (x, curves, y)."""
        with torch.no_grad():
            features = self(known[0], known[1])
            factor = self.factor(features)
            across = self.covariance(features, self(x, curves))
            half = torch.linalg.solve_triangular(factor, across, upper=False)
            white = torch.linalg.solve_triangular(factor, (known[2] - self.mean)[:, None], upper=False)
            mean = self.mean + (half * white).sum(0)
            variance = self.scale.exp() + self.noise.exp() + _JITTER - half.square().sum(0)
        return Posterior(mean.numpy(), variance.clamp_min(1e-9).sqrt().numpy())


class DyHPO:
    """A search by DyHPO.

    Args:
        steps: how long it fits.
    """

    def __init__(self, steps: Steps | None = None) -> None:
        self.steps = steps or Steps()

    def __call__(self, environment: Environment, rng: np.random.Generator) -> None:
        """Search until `BudgetSpent`, or until every run is done."""
        with seeded(int(rng.integers(2**31))):
            self._search(environment, rng)

    def _search(self, environment: Environment, rng: np.random.Generator) -> None:
        encoded = configurations(environment)
        model = DeepKernel(encoded.shape[1]).double()
        environment.advance(int(rng.integers(len(encoded))))
        while True:
            alive = [i for i in range(len(encoded)) if not environment.done(i)]
            if not alive:
                return
            rows = Rows.of(environment, encoded)
            due = self.steps.due(len(environment.history))
            if due == self.steps.first:
                model = DeepKernel(encoded.shape[1]).double()
            if due:
                fit(model, rows, due, self.steps.rate)
            environment.advance(_chosen(model, rows, environment, encoded, np.array(alive)))


@dataclass(frozen=True)
class Rows:
    """Observations as the kernel sees them: (n, F + 1), curves (n, T), standardised scores (n,)."""

    x: Tensor
    curves: Tensor
    y: Tensor
    centre: float
    spread: float

    @classmethod
    def of(cls, environment: Environment, encoded: NDArray[np.float64]) -> Rows:
        """The history of an environment whose configurations are `configurations`."""
        history = environment.history
        scores = np.array([o.score or 0.0 for o in history])
        spread = float(scores.std()) or 1.0
        runs, epochs = np.array([o.run for o in history]), np.array([o.epoch for o in history])
        x, curves = inputs(environment, encoded, runs, epochs)
        standard = torch.from_numpy((scores - scores.mean()) / spread)
        return cls(x, curves, standard, float(scores.mean()), spread)


def configurations(environment: Environment) -> NDArray[np.float64]:
    """Encoded hyperparameters that vary, and the candidate as one-hot, (n, F); each column from 0 to 1."""
    rows = environment.configurations
    encoded = environment.space.encode([row.hyperparameters for row in rows])
    names = sorted({row.candidate for row in rows})
    chosen = np.array([[float(row.candidate == name) for name in names] for row in rows])
    both = np.concatenate([encoded, chosen], 1)
    both = both[:, np.ptp(both, axis=0) > 0]
    scaled: NDArray[np.float64] = (both - both.min(0)) / np.ptp(both, axis=0)
    return scaled


def inputs(
    environment: Environment,
    encoded: NDArray[np.float64],
    runs: NDArray[np.int64],
    epochs: NDArray[np.int64],
) -> tuple[Tensor, Tensor]:
    """Configurations with budgets (n, F + 1) and curves up to the epoch before (n, T), zero where unseen."""
    seen = np.zeros((len(encoded), environment.horizon))
    for o in environment.history:
        seen[o.run, o.epoch - 1] = o.score or 0.0
    before = np.arange(environment.horizon)[None] < epochs[:, None] - 1
    budget = epochs[:, None] / environment.horizon
    x = np.concatenate([encoded[runs], budget], 1)
    return torch.from_numpy(x), torch.from_numpy(seen[runs] * before)


def fit(model: DeepKernel, rows: Rows, steps: int, rate: float) -> None:
    """Adam on the marginal likelihood, in place."""
    optimiser = torch.optim.Adam(model.parameters(), rate, fused=True)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = model.loss(rows.x, rows.curves, rows.y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _chosen(
    model: DeepKernel,
    rows: Rows,
    environment: Environment,
    encoded: NDArray[np.float64],
    alive: NDArray[np.int64],
) -> int:
    following = np.array([environment.reached(int(i)) + 1 for i in alive])
    x, curves = inputs(environment, encoded, alive, following)
    found = model.posterior((rows.x, rows.curves, rows.y), x, curves)
    posterior = Posterior(found.mean * rows.spread + rows.centre, found.std * rows.spread)
    best = incumbents(environment.history, following, environment.horizon, "at-fidelity")
    return int(alive[np.argmax(log_expected_improvement(posterior, best))])
