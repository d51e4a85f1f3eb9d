"""Two objectives in the scheduler: what is cheap or good enough is trained, and what is neither is not."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fms_hub import Selector
from fms_hub.errors import UsageError
from fms_hub.records import Observation, Proposal, Status
from fms_hub.search.acquisition import Acquisition, Steps
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem
from fms_hub.search.scheduler import Outlook, Situation
from fms_hub.search.shelf import kept
from fms_hub.search.space import Space
from fms_hub.search.tradeoff import Tradeoff, front_of
from fms_hub.surrogate.posterior import Posterior
from fms_hub.surrogate.surrogate import Surrogate

LATENCY = Tradeoff("latency", {"tiny": 1.0, "middle": 4.0, "huge": 16.0})


def seen(run: int, candidate: str, score: float | None, epoch: int = 1) -> Observation:
    status: Status = "ok" if score is not None else "failed"
    return Observation(run, candidate, {}, epoch, 4, score, status=status, checkpoint=f"r{run}-e{epoch}")


HISTORY = [
    seen(0, "huge", 0.8),
    seen(1, "middle", 0.6),
    seen(2, "tiny", 0.5),
    seen(2, "tiny", 0.3, 2),
    seen(3, "huge", 0.7),
    seen(4, "middle", None),
]


def test_gains_are_logarithms_and_the_dearest_of_three_keeps_a_third() -> None:
    # Reference: 16 x (16 / 1)^(1/2) = 64; log(64 / 4) / log(64 / 1) = 2 / 3.
    assert LATENCY.gains(["tiny", "middle", "huge"]) == pytest.approx([1.0, 2 / 3, 1 / 3])


@pytest.mark.parametrize("costs", [{"a": 3.0}, {"a": 3.0, "b": 3.0}])
def test_equal_costs_leave_the_expected_improvement_alone(costs: dict[str, float]) -> None:
    believed = Posterior(np.array([0.4, 0.7]), np.array([0.1, 0.05]))
    history = [seen(0, "a", 0.5), seen(1, "a", 0.6)]
    found = Tradeoff("latency", costs).log_improvement(believed, ["a", "a"], history, 0.1)
    steps = Steps(np.array([1, 2]), np.array([4, 4]), np.ones(2))
    plain = Acquisition("ei", 4, 1, 0.1).rate(believed, steps, history)
    np.testing.assert_allclose(found, plain, rtol=1e-12)


def test_the_front_holds_no_one_that_another_beats_and_its_area_is_counted_by_hand() -> None:
    front = LATENCY.front(HISTORY)
    assert [(o.run, o.epoch) for o in front] == [(0, 1), (1, 1), (2, 1)]
    # 0.8 x 1/3 + 0.6 x 1/3 + 0.5 x 1/3
    assert LATENCY.hypervolume(HISTORY) == pytest.approx(1.9 / 3)
    assert LATENCY.hypervolume(HISTORY, worst=0.5) == pytest.approx(0.4 / 3)
    cheaper = [*HISTORY, seen(5, "tiny", 0.65)]
    assert [o.run for o in LATENCY.front(cheaper)] == [0, 5]


def test_of_equal_scores_the_cheaper_one_wins() -> None:
    history = [seen(0, "huge", 0.8), seen(1, "tiny", 0.8)]
    assert [o.run for o in front_of(history, LATENCY)] == [1]
    assert [o.run for o in front_of(history, None)] == [0]
    assert front_of([seen(0, "huge", None)], LATENCY) == front_of([], None) == ()


def test_the_improvement_is_what_the_area_gains_where_the_score_is_sure() -> None:
    before = LATENCY.hypervolume(HISTORY, 0.1)
    for candidate, score in [("tiny", 0.55), ("tiny", 0.9), ("middle", 0.7), ("huge", 0.9)]:
        believed = Posterior(np.array([score]), np.array([1e-9]))
        found = float(np.exp(LATENCY.log_improvement(believed, [candidate], HISTORY, 0.1))[0])
        after = LATENCY.hypervolume([*HISTORY, seen(9, candidate, score)], 0.1)
        assert found == pytest.approx(after - before, rel=1e-6)


def test_checkpoints_of_the_front_are_kept_whatever_their_score() -> None:
    keep = kept(HISTORY, 1, front_of(HISTORY, LATENCY))
    assert keep.checkpoints == {"r0-e1", "r1-e1", "r2-e1"}
    assert keep.stopped == {2, 3}
    assert kept(HISTORY, 1, front_of(HISTORY, None)).checkpoints == {"r0-e1"}


def test_the_scheduler_rates_by_the_area_and_per_second_where_asked() -> None:
    problem = Problem(tuple(LATENCY.costs), Space(), 4, 1000, np.array([0.5]), {})
    values = problem.space.default()
    history = tuple(replace(o, hyperparameters=values) for o in HISTORY[:3])
    cost = CostModel.prior(problem.candidates)
    situation = Situation(problem, history, (), {}, frozenset(), 0, math.inf, "ei", 0, cost, (), LATENCY)
    proposals = [Proposal(9, name, values, 1, 4) for name in LATENCY.costs]
    seconds = np.array([1.0, 2.0, 4.0])
    acquisition = Acquisition("ei", 4, 1, 0.1)
    outlook = Outlook.of(situation, Surrogate(), acquisition)
    rated = outlook.promise(proposals, seconds)
    alone = Outlook.of(replace(situation, tradeoff=None), Surrogate(), acquisition).promise(
        proposals, seconds
    )
    assert not np.allclose(rated, alone)
    per_epoch, per_second = (
        Outlook.of(situation, Surrogate(), replace(acquisition, rule=rule)).promise(proposals, seconds)
        for rule in ("ei-per-epoch", "ei-per-second")
    )
    # The 0.1 quantile of the seconds is 1.2.
    np.testing.assert_allclose(per_second, per_epoch - np.log([1.2, 2.0, 4.0]))


def test_a_search_for_two_objectives_looks_at_cheap_candidates_more() -> None:
    """All score alike, so only the cost tells them apart."""

    def searched(tradeoff: Tradeoff | None) -> list[str]:
        selector = Selector(
            list(LATENCY.costs), budget="14 epochs", max_epochs=2, tradeoff=tradeoff, seed=1
        )  # fmt: skip
        while (proposal := selector.ask()) is not None:
            rate = math.log10(float(proposal.hyperparameters["learning_rate"]))
            selector.tell(proposal, score=0.6 - 0.05 * (rate + 3) ** 2 + 0.02 * proposal.epoch)
        return [o.candidate for o in selector.history]

    weighed, alone = searched(LATENCY), searched(None)
    assert weighed.count("tiny") > alone.count("tiny")
    assert weighed.count("tiny") > weighed.count("huge")


def test_a_search_says_its_objectives_and_goes_on_with_no_others() -> None:
    selector = Selector(["tiny", "huge"], budget="4 epochs", tradeoff=LATENCY)
    assert selector.identity["objectives"] == "score, latency"
    assert "objectives" not in Selector(["tiny"], budget="4 epochs").identity


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"acquisition": "at-fidelity"},
            "need acquisition ei-per-epoch, ei or ei-per-second, found 'at-fidelity'",
        ),
        ({"tradeoff": Tradeoff("latency", {"tiny": 1.0})}, "latency is missing for huge"),
    ],
)
def test_a_tradeoff_that_a_search_cannot_pursue_is_refused(changes: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Selector(["tiny", "huge"], budget="4 epochs", **{"tradeoff": LATENCY, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("costs", [{}, {"a": 0.0}, {"a": -1.0}, {"a": math.nan}, {"a": math.inf}])
def test_costs_that_cannot_be_are_refused(costs: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="latency must be a positive number for each candidate"):
        Tradeoff("latency", costs)
