"""The methods: every one spends what it has, repeats, and never reads what it has not paid for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import taught
from training.benchmarks.cached import halving, portfolio
from training.benchmarks.cached.dyhpo import DeepKernel, Rows, Steps, configurations, fit, inputs
from training.benchmarks.cached.environment import Environment
from training.benchmarks.cached.leaks import reads_the_future, with_another_future
from training.benchmarks.cached.methods import METHODS, Search, Setting, Unavailable, run
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.statistics import kendall

MakePool = Callable[..., Pool]
BUDGET = 20


def made(name: str, make_pool: MakePool, hub: str) -> Search:
    training = {
        task: make_pool(20, hub=hub, task=task, seed=n) for n, task in enumerate(("mnist", "gtsrb"), 5)
    }
    scores = {name: float(n) for n, name in enumerate(sorted(make_pool(3, hub=hub).candidates))}
    probes = {"logme": scores, "linear probe": scores}
    return METHODS[name].make(Setting(training, probes, taught.surrogate(), quick=True))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_spends_its_budget_repeats_and_does_not_see_the_future(
    name: str, make_pool: MakePool
) -> None:
    search, pool = made(name, make_pool, "timm-tiny"), make_pool(40, hub="timm-tiny")
    history = run(search, Environment(pool, BUDGET), seed=0)
    assert len(history) == BUDGET
    assert not reads_the_future(search, pool, BUDGET)
    if name != "fms" and "portfolio" not in name:  # these two draw nothing
        assert run(search, Environment(pool, BUDGET), seed=1) != history


@pytest.mark.parametrize("name", ["random-halving", "optuna-tpe-hyperband", "syne-tune-bohb", "dyhpo"])
def test_a_method_ends_when_everything_was_tried(name: str, make_pool: MakePool) -> None:
    search, pool = made(name, make_pool, "small-cnn"), make_pool(6)
    history = run(search, Environment(pool, 200), seed=0)
    assert {o.run for o in history} == set(range(6))
    assert len(history) <= sum(r.epochs for r in pool.runs)


def test_a_method_that_looks_behind_the_environment_is_found_out(make_pool: MakePool) -> None:
    def cheat(environment: Environment, rng: np.random.Generator) -> None:
        finals = environment._pool.finals()
        halving.run_through(environment, iter(np.argsort(-finals).tolist()))

    assert reads_the_future(cheat, make_pool(), BUDGET)


def test_a_method_that_reads_the_sketch_of_the_future_is_found_out(make_pool: MakePool) -> None:
    def cheat(environment: Environment, rng: np.random.Generator) -> None:
        pool = environment._pool
        worth = [pool.sketches[r.id, 4].sum() for r in pool.runs]
        halving.run_through(environment, iter(np.argsort(worth).tolist()))

    def fair(environment: Environment, rng: np.random.Generator) -> None:
        starts = [environment.sketch(i, 0) for i in range(len(environment.configurations))]
        worth = [0.0 if s is None else s.sum() for s in starts]
        halving.run_through(environment, iter(np.argsort(worth).tolist()))

    assert reads_the_future(cheat, make_pool(), BUDGET)
    assert not reads_the_future(fair, make_pool(), BUDGET)


def test_another_future_keeps_what_was_paid_for_and_nothing_else(make_pool: MakePool) -> None:
    pool = make_pool()
    environment = Environment(pool, 20)
    for index in (0, 0, 1, 9, 9, 9):
        environment.advance(index)
    other = with_another_future(pool, environment.history, (0.0, 1.0), seed=0)
    assert other.runs[0].scores[:2] == pool.runs[0].scores[:2]
    assert other.runs[0].scores[2:] != pool.runs[0].scores[2:]
    assert (other.runs[9].scores, other.runs[9].reason) == (pool.runs[9].scores, "diverged")
    key = pool.runs[0].id
    assert other.sketches[key, 1] is pool.sketches[key, 1]
    assert not np.allclose(other.sketches[key, 4], pool.sketches[key, 4])
    assert all(other.runs[i].scores != pool.runs[i].scores for i in range(2, 9))


def test_hyperband_brackets_by_hand() -> None:
    # R = 12, eta = 3: floor(log3 12) = 2; ceil(3 / (s + 1) 3^s) runs with s = 2, 1, 0 halvings.
    assert halving.brackets(12) == [(9, 2), (5, 1), (3, 0)]
    assert halving.brackets(9) == [(9, 2), (5, 1), (3, 0)]
    assert halving.brackets(1) == [(1, 0)]


def test_halving_trains_the_best_third_on(make_pool: MakePool) -> None:
    pool = make_pool(9)
    runs = tuple(
        replace(r, scores=tuple([0.1 * n] * 6), losses=(None,) * 6, reason=None)
        for n, r in enumerate(pool.runs)
    )
    environment = Environment(replace(pool, runs=runs))
    halving.halve(environment, iter(range(9)), 9, 2)
    # Rungs at 6 // 9 (at least 1), 6 // 3 and 6 epochs.
    assert [environment.reached(i) for i in range(9)] == [1, 1, 1, 1, 1, 1, 2, 2, 6]


def test_a_failed_run_is_not_promoted(make_pool: MakePool) -> None:
    pool = make_pool(3)
    failed = replace(pool.runs[0], scores=(0.99,), losses=(None,), test_score=None, reason="diverged")
    environment = Environment(replace(pool, runs=(failed, *pool.runs[1:])))
    halving.halve(environment, iter(range(3)), 3, 1)
    assert environment.reached(0) == 2
    assert max(environment.reached(1), environment.reached(2)) == 6


def test_a_portfolio_takes_the_member_that_complements_the_first(make_pool: MakePool) -> None:
    pool = make_pool(3, hub="timm-tiny")

    def with_finals(*finals: float) -> Pool:
        runs = tuple(
            replace(r, scores=tuple([f] * 6), losses=(None,) * 6, reason=None)
            for r, f in zip(pool.runs, finals, strict=True)
        )
        return replace(pool, runs=runs)

    # On average the first is best; after it the third helps, though the second is the better on average.
    members = portfolio.build(
        [with_finals(1.0, 0.9, 0.0), with_finals(0.5, 0.4, 1.0), with_finals(0.9, 1.0, 0.0)]
    )
    assert [member["learning_rate"] for member in members] == [
        pool.runs[index].hyperparameters["learning_rate"] for index in (0, 2, 1)
    ]
    assert list(portfolio.rows(Environment(pool), members)) == [0, 2, 1]


def test_a_portfolio_takes_each_row_once(make_pool: MakePool) -> None:
    pool = make_pool(30)
    members = portfolio.build([make_pool(30, seed=3), make_pool(30, seed=4)])
    assert sorted(portfolio.rows(Environment(pool), members)) == list(range(30))
    with pytest.raises(ValueError, match="at least one member"):
        next(portfolio.rows(Environment(pool), []))


def test_probes_come_first(make_pool: MakePool) -> None:
    pool = make_pool(30, hub="timm-tiny")
    scores: Mapping[str, float] = {"scratch:test_vit": 2.0, "scratch:test_resnet": 1.0}
    search = METHODS["logme-first"].make(Setting(probes={"logme": scores}))
    history = run(search, Environment(pool, 200), seed=0)
    first = list(dict.fromkeys(o.run for o in history))
    names = [pool.runs[i].candidate for i in first]
    assert names[:10] == ["scratch:test_vit"] * 10
    assert names[10:20] == ["scratch:test_resnet"] * 10
    for probes in ({}, {"logme": {"scratch:test_vit": 1.0}}):
        with pytest.raises(Unavailable):
            METHODS["logme-first"].make(Setting(probes=probes))


def test_the_deep_kernels_posterior_is_that_of_a_gaussian_process(make_pool: MakePool) -> None:
    torch.manual_seed(0)
    model = DeepKernel(3).double()
    x, curves, y = torch.rand(6, 4).double(), torch.rand(6, 5).double(), torch.randn(6).double()
    found = model.posterior((x[:4], curves[:4], y[:4]), x[4:], curves[4:])
    with torch.no_grad():
        features = model(x, curves)
        squared = (features[:, None] - features[None]).square().sum(-1) / 128
        kernel = torch.exp(-0.5 * squared)
        noise = (model.noise.exp() + 1e-4) * torch.eye(4)
        inverse = torch.linalg.inv(kernel[:4, :4] + noise)
        mean = kernel[4:, :4] @ inverse @ y[:4]
        variance = 1 + noise[0, 0] - (kernel[4:, :4] @ inverse * kernel[4:, :4]).sum(1)
        dense = torch.distributions.MultivariateNormal(torch.zeros(4).double(), kernel[:4, :4] + noise)
        likelihood = -dense.log_prob(y[:4]) / 4
        assert model.loss(x[:4], curves[:4], y[:4]).item() == pytest.approx(likelihood.item())
    assert found.mean == pytest.approx(mean.numpy())
    assert found.std == pytest.approx(variance.sqrt().numpy())


def test_dyhpo_sees_the_curve_up_to_the_epoch_before(make_pool: MakePool) -> None:
    pool = make_pool()
    environment = Environment(pool)
    for index in (0, 0, 1):
        environment.advance(index)
    encoded = configurations(environment)
    assert (encoded.min(), encoded.max()) == (0, 1)
    x, curves = inputs(environment, encoded, np.array([0, 0, 0, 1]), np.array([1, 2, 3, 2]))
    first, second = pool.runs[0].scores[:2]
    assert x[:, -1].tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6, 2 / 6])
    expected = [[0, 0, 0], [first, 0, 0], [first, second, 0], [pool.runs[1].scores[0], 0, 0]]
    assert curves[:, :3].tolist() == pytest.approx(np.array(expected))


def test_dyhpo_fits_when_the_protocol_says_so() -> None:
    steps = Steps()
    assert [steps.due(n) for n in (1, 10, 11, 19, 20, 200)] == [1000, 1000, 0, 0, 50, 50]


def test_dyhpo_learns_which_configurations_are_good(make_pool: MakePool) -> None:
    pool = make_pool(100)
    same = pool.runs[0].hyperparameters
    runs = tuple(
        replace(r, hyperparameters={**same, "learning_rate": r.hyperparameters["learning_rate"]})
        for r in pool.runs
    )
    pool = replace(pool, runs=runs)
    environment = Environment(pool)
    for index in range(50):
        environment.advance(index)
    torch.manual_seed(0)
    encoded = configurations(environment)
    rows = Rows.of(environment, encoded)
    model = DeepKernel(encoded.shape[1]).double()
    before = model.loss(rows.x, rows.curves, rows.y).item()
    fit(model, rows, 300, 1e-3)
    assert model.loss(rows.x, rows.curves, rows.y).item() < before
    x, curves = inputs(environment, encoded, np.arange(50, 100), np.ones(50, dtype=np.int64))
    predicted = model.posterior((rows.x, rows.curves, rows.y), x, curves).mean
    assert kendall(predicted, np.array([r.scores[0] for r in pool.runs[50:]])) > 0.8
