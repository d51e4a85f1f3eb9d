"""Ask and tell: a user's own training loop, with and without weights to look at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ConfigSpace import ConfigurationSpace
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import nn

from fms_hub import Proposal, Selector
from fms_hub.errors import BudgetError, CandidateError, UsageError
from fms_hub.hub.logbook import read_history
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph

SPACE = ConfigurationSpace({"learning_rate": (1e-4, 1.0)}, seed=0)
WIDTHS = {"narrow": 4, "wide": 64}


class OwnLoop:
    """Multilayer perceptrons on scikit-learn's digits, trained without anything of fms_hub."""

    def __init__(self) -> None:
        scans = load_digits()
        self.pixels = torch.tensor(scans.data[:600] / 16, dtype=torch.float32)
        self.labels = torch.tensor(scans.target[:600])
        self.networks: dict[int, nn.Module] = {}

    def network(self, name: str) -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Flatten(), nn.Linear(64, WIDTHS[name]), nn.ReLU(), nn.Linear(WIDTHS[name], 10)
        )

    def epoch(self, proposal: Proposal) -> float:
        if proposal.epoch == 1:
            self.networks[proposal.run] = self.network(proposal.candidate)
        network = self.networks[proposal.run]
        optimizer = torch.optim.SGD(network.parameters(), lr=float(proposal.hyperparameters["learning_rate"]))
        for start in range(0, 400, 40):
            loss = nn.functional.cross_entropy(
                network(self.pixels[start : start + 40]), self.labels[start : start + 40]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        guesses = network(self.pixels[400:]).argmax(dim=1)
        return float((guesses == self.labels[400:]).float().mean())


def graphs() -> dict[str, WeightGraph]:
    loop = OwnLoop()
    return {name: describe(loop.network(name), (1, 8, 8)) for name in WIDTHS}


def search(selector: Selector, loop: OwnLoop, *, weights: bool) -> NDArray[np.float64]:
    while (proposal := selector.ask()) is not None:
        score = loop.epoch(proposal)
        network = loop.networks[proposal.run] if weights else None
        selector.tell(proposal, score=score, seconds=0.1, checkpoint=network)
    return np.array([o.score for o in selector.history])


@pytest.mark.parametrize("weights", [True, False])
def test_a_users_own_loop_finds_a_good_network(weights: bool) -> None:
    selector = Selector(
        list(WIDTHS), budget="24 epochs", max_epochs=6, space=SPACE, graphs=graphs() if weights else None
    )
    scores = search(selector, OwnLoop(), weights=weights)
    assert len(scores) == 24
    assert scores.max() > 0.75
    assert selector.spent.epochs == 24


def test_a_logged_search_goes_on_exactly_as_if_never_stopped(tmp_path: Path) -> None:
    def selector(out: Path | None) -> Selector:
        return Selector(
            list(WIDTHS), budget="16 epochs", max_epochs=6, space=SPACE, graphs=graphs(), out=out, seed=3
        )

    whole = selector(tmp_path / "whole")
    search(whole, OwnLoop(), weights=True)
    first, loop = selector(tmp_path / "parts"), OwnLoop()
    for _ in range(9):
        proposal = first.ask()
        assert proposal is not None
        first.tell(proposal, score=loop.epoch(proposal), seconds=0.1, checkpoint=loop.networks[proposal.run])
    first.close()
    second = selector(tmp_path / "parts")
    search(second, loop, weights=True)
    steps = [[(o.run, o.epoch, o.score, dict(o.hyperparameters)) for o in s.history] for s in (whole, second)]
    assert steps[0] == steps[1]
    second.close()
    assert read_history(tmp_path / "parts") == second.history


def test_several_proposals_may_be_out_at_once_and_are_all_different() -> None:
    loop = OwnLoop()
    selector = Selector(list(WIDTHS), budget="12 epochs", max_epochs=6, space=SPACE)
    told = 0
    while proposals := [p for p in (selector.ask() for _ in range(3)) if p is not None]:
        assert len({p.run for p in proposals}) == len(proposals)
        for proposal in reversed(proposals):
            selector.tell(proposal, score=loop.epoch(proposal))
            told += 1
    assert told == selector.spent.epochs == 12


def test_a_failed_run_is_charged_and_not_asked_for_again() -> None:
    selector = Selector(["a"], budget="6 epochs", max_epochs=4, space=SPACE)
    failed = selector.ask()
    assert failed is not None
    observation = selector.tell(failed, failure="diverged", seconds=3.0)
    assert (observation.score, observation.reason) == (None, "diverged")
    assert (selector.spent.epochs, selector.spent.seconds >= 3.0) == (1, True)
    while (proposal := selector.ask()) is not None:
        assert proposal.run != failed.run
        selector.tell(proposal, score=0.5)


def test_a_stopped_run_is_not_asked_for_again() -> None:
    selector = Selector(["a"], budget="8 epochs", max_epochs=4, space=SPACE)
    first = selector.ask()
    assert first is not None
    selector.tell(first, score=0.9)
    selector.stop(first.run)
    while (proposal := selector.ask()) is not None:
        assert proposal.run != first.run
        selector.tell(proposal, score=0.1)


def test_seconds_are_charged_and_end_the_search() -> None:
    selector = Selector(["a"], budget="10s", max_epochs=4, space=SPACE)
    asked = 0
    while (proposal := selector.ask()) is not None:
        selector.tell(proposal, score=0.5, seconds=3.0)
        asked += 1
    # The fourth epoch would end after 12 seconds.
    assert asked == 3


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({}, "either"),
        ({"score": 0.5, "failure": "diverged"}, "either"),
        ({"score": 1.5}, "lies in"),
        ({"score": float("nan")}, "lies in"),
        ({"score": 0.5, "seconds": -1.0}, "seconds"),
    ],
)
def test_answers_that_cannot_be_are_refused_and_can_be_given_again(
    answer: dict[str, float], why: str
) -> None:
    selector = Selector(["a"], budget="4 epochs", max_epochs=4, space=SPACE)
    proposal = selector.ask()
    assert proposal is not None
    with pytest.raises(ValueError, match=why):
        selector.tell(proposal, **answer)  # type: ignore[arg-type]
    assert selector.history == ()
    selector.tell(proposal, score=0.5)
    with pytest.raises(ValueError, match="answered"):
        selector.tell(proposal, score=0.5)


@pytest.mark.parametrize(
    ("candidates", "settings", "error"),
    [
        ([], {"budget": "4 epochs"}, CandidateError),
        (["a", "a"], {"budget": "4 epochs"}, CandidateError),
        (["a"], {"budget": "4 epochs", "max_epochs": 0}, BudgetError),
        (["a"], {"budget": "nothing"}, BudgetError),
        (["a"], {"budget": "4 epochs", "acquisition": "best"}, UsageError),
    ],
)
def test_what_cannot_be_searched_is_refused(
    candidates: list[str], settings: dict[str, str], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Selector(candidates, **settings)  # type: ignore[arg-type]
