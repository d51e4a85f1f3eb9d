"""The scheduler: a pure function that starts diverse, follows what is good and avoids what failed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from fms_hub.records import Observation, Proposal
from fms_hub.search.cost import CostModel
from fms_hub.search.encoding import Problem, answered, encode, lookbacks, targets
from fms_hub.search.proposals import diverse_order, new_configurations
from fms_hub.search.scheduler import FREE_STARTS, Situation, _pool, fit_size, fit_to, may_begin, propose
from fms_hub.search.space import Space
from fms_hub.surrogate.surrogate import Surrogate

SPACE = Space()
START = {
    "centre": np.array([0.1, 0.0]),
    "left": np.array([-1.0, 0.0]),
    "right": np.array([1.2, 0.0]),
    "nearleft": np.array([-0.9, 0.0]),
}
PROBLEM = Problem(tuple(START), SPACE, 6, 1000, np.array([0.5, 1.0]), START)


def situation(history: list[Observation], **changes: object) -> Situation:
    cost = CostModel.prior(PROBLEM.candidates)
    base = Situation(PROBLEM, tuple(history), (), {}, frozenset(), 3, math.inf, "at-fidelity", 0, cost)
    return replace(base, **changes)  # type: ignore[arg-type]


def curve(run: int, candidate: str, scores: list[float | None], **values: float) -> list[Observation]:
    settings = {**SPACE.default(), **values}
    return [
        Observation(
            run, candidate, settings, epoch, 6, score, train_loss=1.0, seconds=2.0,
            status="ok" if score is not None else "failed", reason=None if score is not None else "diverged",
        )
        for epoch, score in enumerate(scores, start=1)
    ]  # fmt: skip


HISTORY = [
    *curve(0, "centre", [0.50, 0.55, 0.58]),
    *curve(1, "left", [0.20, 0.21], learning_rate=1e-5),
    *curve(2, "right", [0.70, 0.80, 0.85], learning_rate=3e-3),
    *curve(3, "nearleft", [None], learning_rate=0.1),
]


def test_candidates_are_started_from_the_middle_and_then_far_apart() -> None:
    assert diverse_order(PROBLEM) == ("centre", "right", "left", "nearleft")


def test_candidates_without_weights_come_last_in_the_order_given() -> None:
    problem = replace(PROBLEM, start={"left": START["left"]})
    assert diverse_order(problem) == ("left", "centre", "right", "nearleft")


def test_a_search_starts_with_default_configurations_of_diverse_candidates() -> None:
    history: list[Observation] = []
    for run in range(3):
        proposal = propose(situation(history), Surrogate())
        assert proposal is not None
        assert (proposal.run, proposal.epoch) == (run, 1)
        assert proposal.hyperparameters == SPACE.default()
        history += curve(run, proposal.candidate, [0.5])
    assert [o.candidate for o in history] == ["centre", "right", "left"]


def test_pending_starts_are_not_handed_out_twice() -> None:
    first = propose(situation([]), Surrogate())
    assert first is not None
    second = propose(situation([], pending=(first,)), Surrogate())
    assert second is not None
    assert (second.run, second.candidate) == (1, "right")


def run_on(history: list[Observation], **changes: object) -> Proposal:
    where = situation(history, **changes)
    proposal = propose(where, fit_to(where, Surrogate(), fit_size(len(history))))
    assert proposal is not None
    return proposal


def test_equal_situations_give_equal_proposals_and_seeds_matter() -> None:
    assert run_on(HISTORY) == run_on(HISTORY)
    drawn = [new_configurations(PROBLEM, HISTORY, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_clearly_better_run_is_continued_under_the_horizon_rule() -> None:
    steep = [
        *curve(0, "centre", [0.10, 0.11, 0.11, 0.12]),
        *curve(1, "left", [0.10, 0.10, 0.11]),
        *curve(2, "right", [0.50, 0.65, 0.78, 0.88]),
        *curve(3, "nearleft", [0.10, 0.11, 0.10]),
        *curve(4, "left", [0.10], learning_rate=1e-5),
        *curve(5, "centre", [0.11], learning_rate=1e-1),
    ]
    proposal = run_on(steep, rule="ei")
    assert (proposal.run, proposal.epoch) == (2, 5)


def test_every_proposal_is_the_next_epoch_of_a_live_run_or_a_new_run() -> None:
    for seed in range(5):
        proposal = run_on(HISTORY, seed=seed)
        following = {0: 4, 1: 3, 2: 4, 4: 1}
        assert following.get(proposal.run) == proposal.epoch


def disappointing(runs: int) -> list[Observation]:
    """Runs that fell after their first epochs."""
    rates = np.geomspace(1e-4, 1e-2, runs).tolist()
    names = list(START)
    return [
        o
        for run, rate in enumerate(rates)
        for o in curve(run, names[run % len(names)], [0.6, 0.1], learning_rate=rate)
    ]


def test_a_third_of_the_epochs_may_begin_runs_besides_the_first_four() -> None:
    assert [may_begin(started, 0) for started in (0, 3, 4)] == [True, True, False]
    assert [may_begin(started, 30) for started in (13, 14)] == [True, False]
    steps = [step for step in range(200) if may_begin(step, step)]
    assert steps == list(range(6))  # where every epoch begins a run


def test_where_too_many_runs_have_begun_one_of_them_goes_on() -> None:
    few, many = disappointing(FREE_STARTS), disappointing(13)
    assert run_on(few).epoch == 1
    assert run_on(many).epoch == 3
    # Nothing goes on where all are stopped, or wait for an answer.
    assert run_on(many, stopped=frozenset(range(13))).epoch == 1
    pending = tuple(Proposal(o.run, o.candidate, o.hyperparameters, 3, 6) for o in many if o.epoch == 2)
    assert run_on(many, pending=pending).epoch == 1


def test_finished_failed_stopped_and_pending_runs_are_left_alone() -> None:
    done = [*HISTORY, *curve(4, "right", [0.9] * 6, learning_rate=2e-3)]
    pending = (Proposal(2, "right", HISTORY[-2].hyperparameters, 4, 6),)
    rng = np.random.default_rng(0)
    pool = _pool(situation(done, stopped=frozenset({0}), pending=pending), rng, ())
    assert {p.run: p.epoch for p in pool} == {1: 3, 5: 1}
    pool = _pool(situation(done), rng, ())
    assert {p.run: p.epoch for p in pool} == {0: 4, 1: 3, 2: 4, 5: 1}


def test_new_configurations_have_never_been_tried() -> None:
    tried = {(o.candidate, tuple(sorted(o.hyperparameters.items()))) for o in HISTORY}
    new = new_configurations(PROBLEM, HISTORY, seed=0)
    keys = [(c.candidate, tuple(sorted(c.hyperparameters.items()))) for c in new]
    assert len(set(keys)) == len(keys) > 200
    assert not tried & set(keys)
    assert {c.candidate for c in new} == set(START)


def test_failed_epochs_count_as_the_worst_score_seen() -> None:
    assert targets(PROBLEM, HISTORY).tolist() == [0.5, 0.55, 0.58, 0.2, 0.21, 0.7, 0.8, 0.85, 0.2]
    assert targets(PROBLEM, curve(0, "left", [None])).tolist() == [0.0]


def test_every_score_is_learned_as_seen_from_before_half_way_and_the_start() -> None:
    assert [lookbacks(epoch) for epoch in (1, 2, 3, 4, 6)] == [(0,), (1, 0), (2, 1, 0), (3, 2, 0), (5, 3, 0)]
    known = answered(PROBLEM, HISTORY, {(0, 1): np.array([7.0, 8.0])})
    # Run 0 has epochs 1, 2 and 3, which make 1 + 2 + 3 questions.
    assert [(q.epoch, len(q.curve)) for q in known.queries[:6]] == [
        (1, 0),
        (2, 1),
        (2, 0),
        (3, 2),
        (3, 1),
        (3, 0),
    ]
    assert known.scores[:6].tolist() == [0.50, 0.55, 0.55, 0.58, 0.58, 0.58]
    inputs = encode(PROBLEM, known.queries)
    assert np.isnan(inputs.curve[[0, 2, 5]]).all()
    # Epoch 3 seen from epoch 2: scores 0.50 and 0.55, training loss 1 -> 1 / (1 + 1).
    np.testing.assert_allclose(inputs.curve[3], [2 / 6, 0.55, 0.55, 0.50, 0.05, 0.5])
    np.testing.assert_array_equal(inputs.weights[0], START["centre"])
    np.testing.assert_array_equal(inputs.weights[[1, 4]], [[7.0, 8.0]] * 2)
    assert np.isnan(inputs.weights[3]).all()
    np.testing.assert_allclose(inputs.fidelity[3], [0.5, math.log10(3000) / 4])
    assert inputs.candidate[[0, 6]].tolist() == [0, 1]


def test_what_does_not_fit_the_time_left_is_not_proposed() -> None:
    slow = [replace(o, seconds=50.0) if o.candidate == "right" else o for o in HISTORY]
    assert run_on(slow, seconds_left=10.0).candidate != "right"
    where = situation(slow, seconds_left=1.0)
    assert propose(where, Surrogate()) is None


def test_what_is_pending_takes_its_share_of_the_time_left() -> None:
    where = situation(HISTORY, seconds_left=3.0)
    first = propose(where, Surrogate())
    assert first is not None
    assert propose(replace(where, pending=(first,)), Surrogate()) is None
    assert propose(replace(where, pending=(first,), seconds_left=6.0), Surrogate()) is not None


def test_per_second_the_cheaper_of_two_good_candidates_goes_on() -> None:
    equals = [*HISTORY, *curve(4, "left", [0.70, 0.80, 0.84], learning_rate=3e-3)]
    expensive = [replace(o, seconds=500.0) if o.candidate == "right" else o for o in equals]
    assert run_on(expensive, rule="ei-per-epoch").candidate == "right"
    assert run_on(expensive, rule="ei-per-second").candidate != "right"


@pytest.mark.parametrize(
    ("observations", "size"), [(0, 0), (3, 0), (4, 4), (5, 4), (6, 6), (9, 9), (13, 9), (14, 14)]
)
def test_the_kernel_is_refitted_at_a_geometric_series_of_sizes(observations: int, size: int) -> None:
    assert fit_size(observations) == size
