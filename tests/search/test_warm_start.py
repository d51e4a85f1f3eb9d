"""Earlier logs: the surrogate knows them from the start, and they cost, go on and win nothing."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, OrdinalHyperparameter
from test_selector import OwnLoop, graphs

from fms_hub import Proposal, Selector
from fms_hub.errors import CandidateError, OutputError, ResumeError, UsageError
from fms_hub.hub.logbook import Logbook, read_history
from fms_hub.records import Observation
from fms_hub.search.encoding import Query, encode
from fms_hub.search.scheduler import Situation, _pool, conditioned
from fms_hub.search.space import Space, default_space
from fms_hub.search.warm_start import MOST_EPOCHS, read_earlier
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.weights.graph import WeightGraph

SPACE = ConfigurationSpace({"learning_rate": (1e-4, 1.0)}, seed=0)


def logged(folder: Path, runs: list[tuple[str, float, list[float]]], **identity: str) -> Path:
    """A log of runs (candidate, learning rate, scores)."""
    with Logbook(folder, {"imported": "csv", **identity}) as log:
        for run, (candidate, rate, scores) in enumerate(runs):
            for epoch, score in enumerate(scores, start=1):
                log.append(
                    Observation(run, candidate, {"learning_rate": rate}, epoch, 4, score, seconds=1000.0)
                )
    return folder


RUNS = [
    ("wide", 1e-4, [0.10, 0.11, 0.11, 0.12]),
    ("wide", 1e-3, [0.11, 0.14, 0.17, 0.20]),
    ("wide", 0.5, [0.70, 0.85, 0.90, 0.93]),
    ("narrow", 0.5, [0.40, 0.50, 0.55, 0.58]),
    ("narrow", 1e-3, [0.10, 0.10, 0.11, 0.12]),
]


def selector(**settings: object) -> Selector:
    given: dict[str, object] = {"budget": "6 epochs", "max_epochs": 4, "space": SPACE, **settings}
    return Selector(["narrow", "wide"], **given)  # type: ignore[arg-type]


def first(**settings: object) -> Proposal:
    proposal = selector(**settings).ask()
    assert proposal is not None
    return proposal


def test_the_first_proposal_follows_the_best_of_the_earlier_runs(tmp_path: Path) -> None:
    cold, warm = first(), first(warm_start=[logged(tmp_path, RUNS)])
    assert (cold.candidate, cold.hyperparameters) == ("narrow", Space(SPACE).default())
    assert (warm.run, warm.epoch, warm.candidate) == (0, 1, "wide")
    assert float(warm.hyperparameters["learning_rate"]) > 0.1


def test_earlier_runs_cost_nothing_and_are_neither_continued_nor_counted(tmp_path: Path) -> None:
    warm = selector(warm_start=logged(tmp_path, RUNS), budget="6 epochs")
    loop = OwnLoop()
    while (proposal := warm.ask()) is not None:
        assert proposal.run >= 0
        warm.tell(proposal, score=loop.epoch(proposal), seconds=0.1)
    assert len(warm.history) == 6
    assert min(o.run for o in warm.history) == 0
    assert warm.spent.epochs == 6
    assert warm.spent.seconds == pytest.approx(sum(o.seconds + o.overhead for o in warm.history))


def test_candidates_that_nobody_has_looked_at_are_looked_at_first(tmp_path: Path) -> None:
    warm = first(warm_start=logged(tmp_path, RUNS[3:]), budget="8 epochs")
    assert (warm.candidate, warm.hyperparameters) == ("wide", Space(SPACE).default())


def test_the_surrogate_learns_from_earlier_runs_as_from_its_own(tmp_path: Path) -> None:
    warm = selector(warm_start=logged(tmp_path, RUNS))
    given = warm._situation(100.0)
    own = replace(given, history=given.earlier, earlier=())
    assert {o.run for o in given.earlier} == {-1, -2, -3, -4, -5}
    assert (given.history, given.observed) == ((), own.history)
    asked = encode(given.problem, [Query("wide", {"learning_rate": 0.5}, 4, 4, (), None, None)])
    known = [conditioned(s, Surrogate()).posterior(asked) for s in (given, own)]
    assert known[0].mean == known[1].mean
    assert warm._surrogate(given) is not warm._base


def test_the_best_earlier_configuration_may_be_trained_again(tmp_path: Path) -> None:
    """Its checkpoint is not here; only an epoch trained in this search can win."""
    best = {"learning_rate": 0.31234567}
    runs = [*RUNS, ("wide", best["learning_rate"], [0.8, 0.97, 0.98, 0.99])]
    given = selector(warm_start=logged(tmp_path, runs))._situation(100.0)

    def pool(where: Situation) -> list[tuple[str, dict[str, object]]]:
        proposals = _pool(where, np.random.default_rng(0), ())
        return [(p.candidate, dict(p.hyperparameters)) for p in proposals]

    cold, warm = pool(replace(given, earlier=())), pool(given)
    assert ("wide", best) not in cold
    assert ("wide", best) in warm
    assert ("narrow", best) in warm
    assert warm[: len(cold)] == cold


def test_a_warm_search_goes_on_exactly_as_if_never_stopped(tmp_path: Path) -> None:
    earlier = logged(tmp_path / "earlier", RUNS)

    def walk(out: Path, stops: int) -> list[tuple[object, ...]]:
        loop = OwnLoop()
        search = selector(warm_start=[earlier], out=out)
        for step in range(6):
            if stops and step % stops == 0:
                search.close()
                search = selector(warm_start=[earlier], out=out)
            proposal = search.ask()
            assert proposal is not None
            search.tell(proposal, score=loop.epoch(proposal), seconds=0.1)
        search.close()
        return [(o.run, o.candidate, o.hyperparameters, o.epoch, o.score) for o in read_history(out)]

    assert walk(tmp_path / "a", 0) == walk(tmp_path / "b", 2)


def test_a_search_is_resumed_only_with_the_same_earlier_logs(tmp_path: Path) -> None:
    earlier, out = logged(tmp_path / "earlier", RUNS), tmp_path / "out"
    selector(warm_start=[earlier], out=out).close()
    with pytest.raises(ResumeError, match="warm_start"):
        selector(out=out)
    selector(warm_start=[earlier.rename(tmp_path / "moved")], out=out).close()
    cold = selector()
    assert "warm_start" not in cold.identity


def test_sketches_of_an_earlier_search_are_read(tmp_path: Path) -> None:
    loop = OwnLoop()
    early = selector(graphs=graphs(), out=tmp_path / "early", budget="2 epochs")
    while (proposal := early.ask()) is not None:
        early.tell(proposal, score=loop.epoch(proposal), checkpoint=loop.networks[proposal.run])
    early.close()
    warm = selector(graphs=graphs(), warm_start=[tmp_path / "early"])._situation(100.0)
    kept = WeightGraph.load(tmp_path / "early" / "sketches" / "r0000-e001.safetensors").pooled()
    np.testing.assert_array_equal(warm.sketches[-1, 1], kept)
    assert all(o.sketch is None and o.checkpoint is None for o in warm.earlier)


def test_logs_of_several_folders_keep_their_runs_apart(tmp_path: Path) -> None:
    folders = [logged(tmp_path / "a", RUNS[:2]), logged(tmp_path / "b", RUNS[2:])]
    found = read_earlier(folders, ["wide"], Space(SPACE), identity={}, out=None)
    assert [o.run for o in found.observations[::4]] == [-1, -2, -3, -4, -5]
    assert [o.hyperparameters["learning_rate"] for o in found.observations[::4]] == [r for _, r, _ in RUNS]


def test_of_very_long_logs_runs_from_the_best_to_the_worst_are_kept(tmp_path: Path) -> None:
    runs = [("wide", 0.1 + i / 1000, [i / 500] * 4) for i in range(500)]
    with pytest.warns(
        UserWarning, match="have 2000 epochs; the search starts from the 400 of 100 of their 500"
    ):
        found = read_earlier([logged(tmp_path, runs)], ["wide"], Space(SPACE), identity={}, out=None)
    scores = [o.score for o in found.observations[::4]]
    assert len(found.observations) == MOST_EPOCHS == 400
    assert (scores[0], scores[-1]) == (0.0, 499 / 500)
    gaps = np.diff(np.array(scores, dtype=float))
    assert gaps.min() > 0.0
    assert gaps.max() < 0.02
    assert {q.run for q in found.observations if q.epoch == 4} == {o.run for o in found.observations}


@pytest.mark.parametrize(
    ("names", "identity", "error", "message"),
    [
        (["unseen"], {}, CandidateError, "runs of narrow, wide, this search has unseen"),
        (["wide"], {"metric": "macro_f1"}, UsageError, r"another metric \(accuracy\)"),
        (["wide"], {"dataset": "d2"}, UsageError, r"another dataset \(d1\)"),
    ],
)
def test_logs_about_something_else_are_refused(
    tmp_path: Path, names: list[str], identity: dict[str, str], error: type[Exception], message: str
) -> None:
    folder = logged(tmp_path, RUNS, dataset="d1", metric="accuracy")
    with pytest.raises(error, match=message):
        read_earlier([folder], names, Space(SPACE), identity=identity, out=None)


def test_folders_without_a_log_and_folders_named_twice_are_refused(tmp_path: Path) -> None:
    full, empty = logged(tmp_path / "full", RUNS), logged(tmp_path / "empty", [])
    for folders, out, error, message in [
        ([tmp_path / "none"], None, OutputError, "holds no logbook.jsonl"),
        ([empty], None, UsageError, "has no epoch"),
        ([full, tmp_path / "empty" / ".." / "full"], None, UsageError, "named before"),
        ([full], full, UsageError, "the search's own folder"),
    ]:
        with pytest.raises(error, match=message):
            read_earlier(folders, ["wide"], Space(SPACE), identity={}, out=out)


def test_a_hyperparameter_that_the_space_cannot_place_is_refused_by_run(tmp_path: Path) -> None:
    space = ConfigurationSpace()
    space.add(OrdinalHyperparameter("depth", [1, 2, 3]))
    with Logbook(tmp_path, {}) as log:
        log.append(Observation(0, "wide", {"depth": 2}, 1, 4, 0.5))
        log.append(Observation(1, "wide", {"depth": 7}, 1, 4, 0.5))
    with pytest.raises(UsageError, match="run 1: the search space cannot place"):
        read_earlier([tmp_path], ["wide"], Space(space), identity={}, out=None)


def test_what_a_space_does_not_allow_takes_its_default() -> None:
    space = Space(default_space())
    found = space.adapted({"learning_rate": 3e-4, "batch_size": 256, "optimizer": "adamw", "momentum": 0.5})
    assert found == {**space.default(), "learning_rate": 3e-4}
    found = space.adapted({"optimizer": "sgd", "momentum": 0.5, "batch_size": 64, "seed": 3})
    assert found == {**space.default(), "optimizer": "sgd", "momentum": 0.5, "batch_size": 64}


def test_a_combination_that_a_space_forbids_is_left_out() -> None:
    from ConfigSpace import ForbiddenAndConjunction, ForbiddenEqualsClause

    space = ConfigurationSpace()
    kind, size = Categorical("kind", ["a", "b"], default="a"), Categorical("size", ["s", "l"], default="s")
    extra = Float("extra", (0.0, 1.0))
    space.add(kind, size, extra, EqualsCondition(extra, kind, "b"))
    space.add(ForbiddenAndConjunction(ForbiddenEqualsClause(kind, "b"), ForbiddenEqualsClause(size, "l")))
    assert Space(space).adapted({"kind": "b", "size": "l"}) is None
    assert Space(space).adapted({"kind": "b"}) == {"kind": "b", "size": "s", "extra": 0.5}
