"""A search as an Optuna study: the same numbers, on which Optuna's own tools run."""

import math
from pathlib import Path

import optuna
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    Integer,
    OrdinalHyperparameter,
)
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from test_selector import WIDTHS, OwnLoop

from fms_hub import Selector
from fms_hub.errors import UsageError
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.logbook import read_history
from fms_hub.records import Observation
from fms_hub.search.space import Space, default_space
from fms_hub.search.to_optuna import to_optuna


def space() -> ConfigurationSpace:
    found = ConfigurationSpace()
    optimizer, momentum = Categorical("optimizer", ["sgd", "adamw"]), Float("momentum", (0.0, 0.9))
    found.add(optimizer, momentum, Float("learning_rate", (1e-4, 1.0), log=True))
    found.add(OrdinalHyperparameter("batch_size", [16, 32, 64]), Integer("depth", (1, 4)))
    found.add(EqualsCondition(momentum, optimizer, "sgd"))
    return found


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real search; learning rates above a half are told as divergence from the second epoch on."""
    out = tmp_path_factory.mktemp("search")
    selector, loop = (
        Selector(list(WIDTHS), budget="24 epochs", max_epochs=3, space=space(), out=out),
        OwnLoop(),
    )
    while (proposal := selector.ask()) is not None:
        score = loop.epoch(proposal)
        diverged = proposal.epoch > 1 and float(proposal.hyperparameters["learning_rate"]) > 0.5
        selector.tell(
            proposal,
            score=None if diverged else score,
            failure="diverged" if diverged else None,
            seconds=0.25,
        )
    selector.close()
    return out


def runs_of(folder: Path) -> list[list[Observation]]:
    runs: dict[int, list[Observation]] = {}
    for observation in read_history(folder):
        runs.setdefault(observation.run, []).append(observation)
    return list(runs.values())


def test_every_run_is_a_trial_with_its_curve_and_active_hyperparameters(searched: Path) -> None:
    study = to_optuna(searched, space())
    assert len(study.trials) == len(runs_of(searched))
    for trial, curve in zip(study.trials, runs_of(searched), strict=True):
        assert trial.params == {"candidate": curve[0].candidate, **curve[0].hyperparameters}
        assert ("momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
        assert trial.intermediate_values == {o.epoch: o.score for o in curve if o.score is not None}
        assert trial.user_attrs["epochs"] == len(curve)
        assert trial.user_attrs["seconds"] == 0.25 * len(curve)


def test_the_best_trial_is_the_best_run_that_did_not_fail(searched: Path) -> None:
    study = to_optuna(searched, space())
    sound = [curve for curve in runs_of(searched) if curve[-1].status == "ok"]
    best = max(o.score or 0.0 for curve in sound for o in curve)
    assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert study.best_value == best
    assert study.best_trial.value == max(study.best_trial.intermediate_values.values())


HAND = [
    Observation(0, "a", {"learning_rate": 0.1}, 1, 2, 0.5),
    Observation(0, "a", {"learning_rate": 0.1}, 2, 2, 0.4),
    Observation(1, "b", {"learning_rate": 0.2}, 1, 2, 0.6),
    Observation(2, "b", {"learning_rate": 0.4}, 1, 2, 0.7),
    Observation(2, "b", {"learning_rate": 0.4}, 2, 2, None, status="failed", reason="diverged"),
    Observation(3, "a", {"learning_rate": 0.8}, 1, 2, None, status="failed", reason="out-of-memory"),
]


def test_states_are_those_of_the_runs() -> None:
    ok, pruned, fail = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL
    trials = to_optuna(HAND).trials
    assert [t.state for t in trials] == [ok, ok, fail, fail]
    assert [t.value for t in trials] == [0.5, 0.6, None, None]
    assert [t.intermediate_values for t in trials] == [{1: 0.5, 2: 0.4}, {1: 0.6}, {1: 0.7}, {}]
    assert [t.user_attrs.get("reason") for t in trials] == [None, None, "diverged", "out-of-memory"]
    assert [t.state for t in to_optuna(HAND, unfinished="pruned").trials] == [ok, pruned, fail, fail]


def test_ranges_are_those_of_the_space(searched: Path) -> None:
    found = to_optuna(searched, space()).trials[0].distributions
    for trial in to_optuna(searched, space()).trials:
        found.update(trial.distributions)
    assert found["learning_rate"] == FloatDistribution(1e-4, 1.0, log=True)
    assert found["momentum"] == FloatDistribution(0.0, 0.9)
    assert found["depth"] == IntDistribution(1, 4)
    assert found["batch_size"] == CategoricalDistribution([16, 32, 64])
    assert found["optimizer"] == CategoricalDistribution(["sgd", "adamw"])
    assert found["candidate"] == CategoricalDistribution(["narrow", "wide"])


def test_a_folder_that_was_searched_with_the_default_space_has_its_ranges(tmp_path: Path) -> None:
    selector = Selector(["a", "b"], budget="4 epochs", out=tmp_path)
    proposal = selector.ask()
    assert proposal is not None
    selector.tell(proposal, score=0.5)
    selector.close()
    found = to_optuna(tmp_path).trials[0].distributions
    assert found["learning_rate"] == FloatDistribution(1e-5, 1e-1, log=True)
    assert found["frozen"] == CategoricalDistribution([0.0, 0.25, 0.5, 0.75, 1.0])


def test_without_a_space_ranges_are_those_of_the_values() -> None:
    mixed = [
        Observation(0, "a", {"learning_rate": 0.1, "depth": 3, "flag": True, "x": 1}, 1, 2, 0.5),
        Observation(1, "a", {"learning_rate": 0.4, "depth": 5, "flag": False, "x": 2.5}, 1, 2, 0.5),
    ]
    found = to_optuna(mixed).trials[0].distributions
    assert found["learning_rate"] == FloatDistribution(0.1, 0.4, log=True)
    assert found["depth"] == IntDistribution(3, 5)
    assert found["x"] == FloatDistribution(1.0, 2.5)
    assert found["flag"] == CategoricalDistribution([False, True])


def test_values_outside_the_space_widen_its_range() -> None:
    wild = [Observation(0, "a", {"learning_rate": 7.0, "batch_size": 48}, 1, 2, 0.5)]
    found = to_optuna(wild, default_space()).trials[0].distributions
    assert found["learning_rate"] == FloatDistribution(7.0, 7.0, log=True)
    assert found["batch_size"] == IntDistribution(48, 48, log=True)


def test_optunas_own_importances_name_what_mattered(searched: Path) -> None:
    """PED-ANOVA, Optuna's default evaluator: the learning rate moves these scores most."""
    study = to_optuna(searched, space())
    found = optuna.importance.get_param_importances(study)
    assert set(found) == {"candidate", *space()}
    assert math.isclose(sum(found.values()), 1.0)
    assert max(found, key=lambda name: found[name]) == "learning_rate"


def test_the_data_of_optunas_plots_are_the_searchs(searched: Path) -> None:
    from optuna.visualization._intermediate_values import _get_intermediate_plot_info
    from optuna.visualization._optimization_history import _get_optimization_history_info_list

    study = to_optuna(searched, space())
    curves = [t.sorted_intermediate_values for t in _get_intermediate_plot_info(study).trial_infos]
    scored = [curve for curve in runs_of(searched) if curve[-1].status == "ok"]
    assert curves == [[(o.epoch, o.score) for o in curve] for curve in scored]
    (history,) = _get_optimization_history_info_list(study, None, "score", False)
    assert max(history.values_info.values) == study.best_value


def test_optunas_plots_are_drawn(searched: Path) -> None:
    study = to_optuna(searched, space())
    for plot in (
        optuna.visualization.plot_intermediate_values,
        optuna.visualization.plot_optimization_history,
        optuna.visualization.plot_param_importances,
        optuna.visualization.plot_parallel_coordinate,
        optuna.visualization.plot_slice,
    ):
        assert len(plot(study).data) > 0


def test_an_exported_search_can_be_imported_again(searched: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    to_optuna(searched, space(), storage=url)
    import_log(url, "optuna", out=tmp_path / "log")
    before, after = (
        [(o.candidate, o.hyperparameters, o.epoch, o.horizon, o.score) for curve in runs for o in curve]
        for runs in (runs_of(searched), runs_of(tmp_path / "log"))
    )
    assert before == after


def test_a_study_can_go_on_with_optunas_own_sampler(searched: Path) -> None:
    study = to_optuna(searched, space(), unfinished="pruned")
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    trial = study.ask({"learning_rate": FloatDistribution(1e-4, 1.0, log=True)})
    study.tell(trial, 0.99)
    assert study.best_trial.number == trial.number


def test_what_is_no_study_is_refused(searched: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'study.db'}"
    to_optuna(HAND, storage=url, name="mine")
    for search, settings, message in [
        (HAND, {"storage": url, "name": "mine"}, "has a study 'mine' already"),
        ([], {}, "at least one run"),
        ([Observation(0, "a", {"candidate": 1}, 1, 2, 0.5)], {}, "is named 'candidate'"),
    ]:
        with pytest.raises(UsageError, match=message):
            to_optuna(search, **settings)  # type: ignore[arg-type]
    assert Space(space()).fingerprint != Space().fingerprint
