"""Forks: runs that go on from another run's checkpoint under other hyperparameters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_selector import SPACE, WIDTHS, OwnLoop
from torch import nn

from fms_hub.errors import CheckpointError
from fms_hub.hub.logbook import FILE_NAME, Logbook, read_history
from fms_hub.records import Observation, Parent, Proposal
from fms_hub.search.encoding import Problem, answered, query
from fms_hub.search.forks import FORKED, PERTURBED, forks
from fms_hub.search.leaderboard import leaderboard
from fms_hub.search.lineage import curves, rooted
from fms_hub.search.selector import Selector
from fms_hub.search.shelf import before
from fms_hub.search.space import Space
from fms_hub.search.to_optuna import to_optuna
from fms_hub.search.warm_start import read_earlier

WHOLE = Space()
PROBLEM = Problem(("a", "b"), WHOLE, 6, 100, np.array([np.nan]), {})


def run(number: int, epochs: int, parent: Parent | None = None, **changes: object) -> list[Observation]:
    first = 1 if parent is None else parent.epoch + 1
    return [
        replace(
            Observation(
                number, "a", WHOLE.default(), e, 6, 0.1 * e + 0.01 * number, 1.0, seconds=1.0, parent=parent
            ),
            **changes,
        )
        for e in range(first, first + epochs)
    ]


HISTORY = [*run(0, 3), *run(1, 2), *run(2, 2, Parent(0, 3)), *run(3, 1, Parent(2, 4))]


@st.composite
def families(draw: st.DrawFn) -> list[Observation]:
    """Histories in any order in which a search could have trained them."""
    history: list[Observation] = []
    reached: dict[int, tuple[int, Parent | None]] = {}
    for _ in range(draw(st.integers(1, 25))):
        able = sorted(r for r, (epoch, _) in reached.items() if epoch < 6)
        kind = draw(st.sampled_from(["new", "on", "fork"] if able else ["new"]))
        if kind == "on":
            number = draw(st.sampled_from(able))
            epoch, parent = reached[number][0] + 1, reached[number][1]
        else:
            number, epoch, parent = len(reached), 1, None
            if kind == "fork":
                of = draw(st.sampled_from(able))
                start = 0 if reached[of][1] is None else reached[of][1].epoch
                parent = Parent(of, draw(st.integers(start + 1, reached[of][0])))
                epoch = parent.epoch + 1
        reached[number] = (epoch, parent)
        history.append(Observation(number, "a", {}, epoch, 6, 0.5, parent=parent))
    return history


@settings(max_examples=100, deadline=None)
@given(families())
def test_lineage_has_no_cycles_and_every_curve_is_whole(history: list[Observation]) -> None:
    found = curves(history)
    generations = {number: len(_ancestors(history, number)) for number in found}
    for number, curve in found.items():
        assert [o.epoch for o in curve] == list(range(1, len(curve) + 1))
        assert curve[-1].run == number
        own = next(o for o in curve if o.run == number)
        assert generations[number] == (0 if own.parent is None else generations[own.parent.run] + 1)
        assert {o.run for o in curve} <= {number, *_ancestors(history, number)}
    assert rooted(history) == history
    without = rooted([o for o in history if o.run != 0])
    assert all(0 not in _ancestors(history, o.run) for o in without)


def _ancestors(history: list[Observation], number: int) -> list[int]:
    first = {o.run: o for o in reversed(history)}
    found = []
    while (parent := first[number].parent) is not None:
        assert parent.run not in found
        found.append(number := parent.run)
    return found


@settings(max_examples=30, deadline=None)
@given(families())
def test_any_lineage_is_logged_and_read_back(tmp_path_factory, history: list[Observation]) -> None:
    folder = tmp_path_factory.mktemp("log")
    with Logbook(folder, {}) as log:
        for observation in history:
            log.append(observation)
    assert read_history(folder) == tuple(history)


def test_logs_without_forks_do_not_speak_of_parents(tmp_path: Path) -> None:
    with Logbook(tmp_path, {}) as log:
        for observation in HISTORY:
            log.append(observation)
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()[1:]]
    assert [line.get("parent") for line in lines[:5]] == [None] * 5
    assert all("parent" not in line for line in lines[:5])
    assert lines[5]["parent"] == {"run": 0, "epoch": 3}


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (run(9, 1, Parent(7, 1))[0], "not logged before it"),
        (run(9, 1, Parent(0, 4))[0], "not logged before it"),
        (run(9, 1, Parent(2, 3))[0], "not logged before it"),
        (run(9, 1, Parent(0, 2), candidate="b")[0], "a fork keeps its architecture"),
        (run(9, 2, Parent(0, 2))[1], "expected epoch 3, found 4"),
        (run(2, 3, Parent(1, 3))[2], "began from"),
        (run(3, 2)[1], "expected epoch 6, found 2"),
    ],
)
def test_impossible_lineage_is_refused(tmp_path: Path, observation: Observation, why: str) -> None:
    with Logbook(tmp_path, {}) as log:
        for known in HISTORY:
            log.append(known)
        with pytest.raises(ValueError, match=why):
            log.append(observation)
        assert log.history == tuple(HISTORY)


@pytest.mark.parametrize("parent", [Parent(0, 0), Parent(0, 3), Parent(1, 2)])
def test_a_run_goes_on_from_an_earlier_epoch_of_another(parent: Parent) -> None:
    with pytest.raises(ValueError, match="cannot go on from"):
        Observation(1, "a", {}, 3, 6, 0.5, parent=parent)


def test_a_damaged_parent_is_refused(tmp_path: Path) -> None:
    with Logbook(tmp_path, {}) as log:
        for known in HISTORY:
            log.append(known)
    path = tmp_path / FILE_NAME
    text = path.read_text()
    path.write_text(text.replace('"parent": {"epoch": 3, "run": 0}', '"parent": 3'))
    assert path.read_text() != text
    with pytest.raises(CheckpointError, match="expected run and epoch of a parent"):
        read_history(tmp_path)


def test_forks_go_on_from_the_best_last_epochs_with_one_hyperparameter_changed() -> None:
    rng = np.random.default_rng(0)
    failed = replace(run(4, 1)[0], score=None, status="failed", reason="diverged")
    found = forks(PROBLEM, [*HISTORY, failed, *run(5, 6)], {1}, 6, rng)
    # Of runs 2 and 3 and of run 0, in the order of their last scores; 5 has ended, 1 is gone, 4 failed.
    assert list(dict.fromkeys(p.parent for p in found)) == [Parent(3, 5), Parent(2, 5), Parent(0, 3)]
    assert len(found) == 3 * PERTURBED
    for proposal in found:
        assert (proposal.run, proposal.candidate, proposal.horizon) == (6, "a", 6)
        assert proposal.parent is not None
        assert proposal.epoch == proposal.parent.epoch + 1
        default = WHOLE.default()
        changed = [name for name in default if proposal.hyperparameters.get(name) != default[name]]
        active = set(proposal.hyperparameters) ^ set(default)
        assert len(changed) == 1 or active


def test_at_most_so_many_checkpoints_are_forked_from_and_the_best_epoch_is_one() -> None:
    history = [o for number in range(FORKED + 2) for o in run(number, 2)]
    history = [replace(o, score=0.99) if (o.run, o.epoch) == (0, 1) else o for o in history]
    found = forks(PROBLEM, history, (), 9, np.random.default_rng(0))
    parents = list(dict.fromkeys(p.parent for p in found))
    assert len(parents) == FORKED
    assert parents[0] == Parent(0, 1)


def test_a_fork_that_was_trained_is_not_proposed_again() -> None:
    first = forks(PROBLEM, HISTORY, (), 4, np.random.default_rng(0))[0]
    done = Observation(4, "a", first.hyperparameters, first.epoch, 6, 0.01, parent=first.parent)
    again = forks(PROBLEM, [*HISTORY, done], (), 5, np.random.default_rng(0))
    assert (first.parent, first.hyperparameters) not in [(p.parent, p.hyperparameters) for p in again]


def test_the_surrogate_sees_the_curve_and_the_weights_that_a_fork_goes_on_from() -> None:
    sketches = {(0, 3): np.array([3.0]), (2, 4): np.array([4.0])}
    asked = forks(PROBLEM, HISTORY[:3], (), 9, np.random.default_rng(0))[0]
    seen = query(PROBLEM, asked, tuple(HISTORY[:3]), sketches)
    assert seen.weights is sketches[0, 3]
    known = answered(PROBLEM, HISTORY, sketches)
    last = [q for q in known.queries if q.epoch == 5 and [o.run for o in q.curve] == [0, 0, 0, 2]]
    # Run 3 forked from run 2 after epoch 4, and run 2's own epoch 5, both seen from epoch 4.
    assert len(last) == 2
    assert all(q.weights is sketches[2, 4] for q in last)
    # Nothing is asked about a fork from before it began: then it had other hyperparameters.
    forked = [q for q in known.queries if q.epoch >= 4]
    assert {len(q.curve) for q in forked} == {3, 4}


def test_a_forks_first_epoch_goes_on_from_its_parents_checkpoint() -> None:
    assert before(Proposal(4, "a", {}, 1, 6)) is None
    assert before(Proposal(4, "a", {}, 3, 6)) == "checkpoints/r0004-e002"
    assert before(Proposal(4, "a", {}, 3, 6, Parent(1, 2))) == "checkpoints/r0001-e002"
    assert before(Proposal(4, "a", {}, 4, 6, Parent(1, 2))) == "checkpoints/r0004-e003"


class ForkingLoop(OwnLoop):
    """Multilayer perceptrons of which every epoch's weights are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[int, int], dict[str, object]] = {}

    def epoch(self, proposal: Proposal) -> float:
        previous = proposal.previous
        if previous is not None and previous == proposal.parent:
            self.networks[proposal.run] = self.network(proposal.candidate)
            self.networks[proposal.run].load_state_dict(self.kept[previous.run, previous.epoch])
        score = super().epoch(proposal)
        state = self.networks[proposal.run].state_dict()
        self.kept[proposal.run, proposal.epoch] = {name: value.clone() for name, value in state.items()}
        return score


def search(selector: Selector, loop: ForkingLoop, most: int = 99) -> None:
    for _ in range(most):
        if (proposal := selector.ask()) is None:
            return
        network: nn.Module | None = None
        selector.tell(proposal, score=loop.epoch(proposal), seconds=0.1, checkpoint=network)


def test_a_search_with_forks_goes_on_exactly_as_if_never_stopped(tmp_path: Path) -> None:
    def selector(name: str) -> Selector:
        return Selector(
            list(WIDTHS),
            budget="24 epochs",
            max_epochs=6,
            space=SPACE,
            out=tmp_path / name,
            seed=1,
            forking=True,
        )

    whole = selector("whole")
    search(whole, ForkingLoop())
    forked = {o.run for o in whole.history if o.parent is not None}
    assert forked
    board = leaderboard(whole.history)
    assert set(board.index[board.parent.notna()]) == forked
    assert whole.identity["forking"] == "yes"
    loop, parts = ForkingLoop(), selector("parts")
    search(parts, loop, 13)
    parts.close()
    parts = selector("parts")
    search(parts, loop)
    assert [replace(o, overhead=0.0) for o in parts.history] == [
        replace(o, overhead=0.0) for o in whole.history
    ]
    parts.close()
    whole.close()
    trials = to_optuna(tmp_path / "whole").trials
    assert sum("parent" in trial.user_attrs for trial in trials) == len(forked)
    earlier = read_earlier(tmp_path / "whole", list(WIDTHS), Space(SPACE), identity={}, out=None)
    assert {o.run for o in earlier.observations} == {-1 - run for run in range(len(board))}
    assert len(curves(earlier.observations)) == len(board)


def test_without_forking_nothing_is_forked() -> None:
    selector = Selector(list(WIDTHS), budget="24 epochs", max_epochs=6, space=SPACE, seed=1)
    search(selector, ForkingLoop())
    assert all(o.parent is None for o in selector.history)
    assert "forking" not in selector.identity
