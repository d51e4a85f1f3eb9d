"""Proposals drawn by a flow network: promising, valid, and a function of the history alone."""

from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float, ForbiddenGreaterThanRelation, ForbiddenLessThanRelation

from fms_hub import Selector, select
from fms_hub.errors import ResumeError, SpaceError, UsageError
from fms_hub.records import Observation, Proposal
from fms_hub.search.acquisition import Acquisition
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem
from fms_hub.search.generator import Generator
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.proposals import Configuration, new_configurations
from fms_hub.search.scheduler import Outlook, Situation, fit_size, fit_to
from fms_hub.search.space import Space
from fms_hub.surrogate.surrogate import Surrogate

PROBLEM = Problem(("narrow", "wide"), Space(), 4, 1000, np.array([0.5]), {})
SPACE = ConfigurationSpace({"learning_rate": (1e-4, 1.0), "dropout": (0.0, 0.5)}, seed=0)


def score(candidate: str, values: dict[str, object], epoch: int) -> float:
    """A landscape whose best point is a wide network at a learning rate of 1e-2."""
    rate = abs(np.log10(float(str(values["learning_rate"]))) + 2) / 3
    return float(np.clip((0.9 - 0.5 * rate - 0.2 * (candidate == "narrow")) * (1 - 0.5**epoch), 0.0, 1.0))


def situation(runs: int) -> Situation:
    history = []
    for run in range(runs):
        values, name = PROBLEM.space.sample(1, run)[0], PROBLEM.candidates[run % 2]
        history += [
            Observation(run, name, values, epoch, 4, score(name, values, epoch), train_loss=1.0, seconds=1.0)
            for epoch in (1, 2)
        ]
    cost = CostModel.prior(PROBLEM.candidates)
    return Situation(PROBLEM, tuple(history), (), {}, frozenset(), 2, float("inf"), "ei", 0, cost)


def fitted(found: Situation) -> Surrogate:
    return fit_to(found, Surrogate(), fit_size(len(found.observed)))


def test_draws_promise_more_than_uniform_ones_and_differ() -> None:
    found = situation(12)
    surrogate = fitted(found)
    drawn = Generator(PROBLEM, seed=0).configurations(found, surrogate)
    acquisition = Acquisition.draw("ei", 4, np.random.default_rng(0))
    outlook = Outlook.of(found, surrogate, acquisition)
    uniform = new_configurations(PROBLEM, (), seed=0)
    promises = [np.median(outlook.promise_of_new(pool)) for pool in (uniform, drawn)]
    assert promises[1] > promises[0] + 1.0  # in units of the logarithm of an improvement
    assert len({str(configuration) for configuration in drawn}) > 0.9 * len(drawn)


def quick(seed: int) -> Generator:
    little = Effort(rounds=1, draws=32, steps=3)
    return Generator(PROBLEM, seed, first=little, following=little)


def test_draws_depend_on_the_history_alone_not_on_what_was_asked_before() -> None:
    asked = quick(seed=0)
    for runs in (2, 5, 6):  # 4, 10 and 12 observations: fitted at 4, 9 and 9
        found = situation(runs)
        earlier = asked.configurations(found, fitted(found))
    assert earlier == quick(seed=0).configurations(found, fitted(found))
    assert earlier != quick(seed=1).configurations(found, fitted(found))


def test_generated_configurations_join_uniform_and_local_ones_unless_tried() -> None:
    found = situation(3)
    local = new_configurations(PROBLEM, found.history, seed=0)
    generated = quick(seed=0).configurations(found, fitted(found))
    tried = Configuration(found.history[0].candidate, found.history[0].hyperparameters)
    both = new_configurations(PROBLEM, found.history, seed=0, generated=[tried, *generated, generated[0]])
    assert both == [*local, *generated]


def search(selector: Selector, epochs: int | None = None) -> list[tuple[object, ...]]:
    while epochs is None or len(selector.history) < epochs:
        proposal = selector.ask()
        if proposal is None:
            break
        told(selector, proposal)
    selector.close()
    return [(o.run, o.epoch, o.candidate, dict(o.hyperparameters)) for o in selector.history]


def told(selector: Selector, proposal: Proposal) -> None:
    values = dict(proposal.hyperparameters)
    selector.tell(proposal, score=score(proposal.candidate, values, proposal.epoch), seconds=0.1)


def selector(out: Path | None, **settings: object) -> Selector:
    return Selector(
        ["narrow", "wide"], budget="5 epochs", max_epochs=3, out=out,
        **{"proposals": "gflownet", "space": SPACE, **settings},  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_search_with_generated_proposals_can_be_interrupted(tmp_path: Path) -> None:
    whole = search(selector(tmp_path / "whole"))
    search(selector(tmp_path / "parts"), epochs=4)
    assert search(selector(tmp_path / "parts")) == whole
    assert len(whole) == 5


def test_a_search_with_other_proposals_is_another_search(tmp_path: Path) -> None:
    search(selector(tmp_path), epochs=1)
    with pytest.raises(ResumeError, match="proposals"):
        selector(tmp_path, proposals="local")
    assert "proposals" not in selector(None, proposals="local").identity
    assert selector(None).identity["proposals"] == "gflownet"


def test_what_cannot_be_proposed_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="proposals must be one of local, gflownet; found 'guess'"):
        selector(None, proposals="guess")
    space = ConfigurationSpace()
    a, b = Float("a", (0.0, 1.0), default=0.25), Float("b", (0.0, 0.9), default=0.25)
    space.add(a, b)
    space.add(ForbiddenLessThanRelation(a, b), ForbiddenGreaterThanRelation(a, b))
    with pytest.raises(SpaceError, match="found none"):
        selector(None, space=space)


def test_select_refuses_before_it_looks_at_the_data() -> None:
    with pytest.raises(UsageError, match="found 'guess'"):
        select("no such folder", proposals="guess")  # type: ignore[arg-type]
