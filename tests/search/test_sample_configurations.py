"""Several good configurations that differ, from a search or a surrogate."""

from pathlib import Path

import numpy as np
import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float
from sklearn.datasets import load_digits

from fms_hub import Selector, select
from fms_hub.errors import UsageError
from fms_hub.search.belief import Belief
from fms_hub.search.gflownet.balance import Effort
from fms_hub.search.proposals import Configuration
from fms_hub.search.sample_configurations import Sampled, sample_configurations
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.task import task_from_arrays

SPACE = ConfigurationSpace()
SPACE.add(Float("learning_rate", (1e-4, 1.0), log=True), Categorical("batch_size", [16, 64]))
QUICK = Effort(rounds=3, draws=128, steps=40)


def score(candidate: str, rate: float, epoch: int) -> float:
    """Two modes: narrow networks like 1e-3, wide ones 1e-1."""
    best = -3.0 if candidate == "narrow" else -1.0
    return float(0.9 * np.exp(-((np.log10(rate) - best) ** 2)) * (1 - 0.3**epoch))


def searched() -> Selector:
    """Both modes looked at, by twelve runs of one epoch and two whole ones."""
    selector = Selector(["narrow", "wide"], budget="20 epochs", max_epochs=3, space=SPACE, seed=1)
    while (proposal := selector.ask()) is not None:
        rate = float(proposal.hyperparameters["learning_rate"])
        selector.tell(proposal, score=score(proposal.candidate, rate, proposal.epoch), seconds=0.1)
    return selector


SELECTOR = searched()


def true_score(item: Configuration | Sampled) -> float:
    return score(item.candidate, float(item.hyperparameters["learning_rate"]), 3)


def test_samples_are_good_different_and_sorted() -> None:
    found = sample_configurations(SELECTOR, 8, effort=QUICK)
    assert len(found) == 8
    scores = [item.score for item in found]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= item.low <= item.score <= item.high <= 1.0 for item in found)
    belief = SELECTOR.belief()
    uniform = [
        Configuration(name, values)
        for name in ("narrow", "wide")
        for values in belief.problem.space.sample(100, seed=0)
    ]
    assert min(scores) > np.quantile(belief.full_runs(uniform).mean, 0.75)
    assert np.mean([true_score(item) for item in found]) > np.mean([true_score(c) for c in uniform]) + 0.15


def test_a_smaller_beta_is_more_diverse() -> None:
    spreads = []
    for beta in (4.0, 1.0):
        found = sample_configurations(SELECTOR, 8, beta=beta, effort=QUICK)
        assert len({(item.candidate, *sorted(item.hyperparameters.items())) for item in found}) == 8
        rates = [np.log10(float(item.hyperparameters["learning_rate"])) for item in found]
        spreads.append(max(rates) - min(rates))
    assert 0.0 < spreads[0] < spreads[1]


def test_equal_seeds_give_equal_samples() -> None:
    one, same, other = (sample_configurations(SELECTOR, 3, effort=QUICK, seed=s) for s in (0, 0, 1))
    assert one == same
    assert one != other


def test_a_belief_will_do() -> None:
    assert sample_configurations(SELECTOR.belief(), 2, effort=QUICK) == sample_configurations(
        SELECTOR, 2, effort=QUICK
    )


def test_a_finished_selection_can_be_sampled(tmp_path: Path) -> None:
    scans = load_digits()
    pixels = np.clip(scans.images[:100] * 16, 0, 255).astype(np.uint8)
    names = [str(c) for c in range(10)]
    selection = select(
        task_from_arrays("few-digits", names, train=(pixels, scans.target[:100])),
        ["scratch:test_resnet"],
        budget="3 epochs",
        max_epochs=2,
        image_size=32,
        space=SPACE,
        surrogate="scratch",
        proposals="gflownet",
        out=tmp_path,
        progress=False,
    )
    assert len(selection.history) == 3
    found = sample_configurations(selection, 2, effort=Effort(rounds=1, draws=32, steps=5))
    assert [item.candidate for item in found] == ["scratch:test_resnet"] * 2
    assert all(set(item.hyperparameters) == {"learning_rate", "batch_size"} for item in found)


def test_a_space_of_few_configurations_gives_what_it_has() -> None:
    space = ConfigurationSpace()
    space.add(Categorical("batch_size", [16, 64]))
    selector = Selector(["a"], budget="4 epochs", max_epochs=4, space=space)
    while (proposal := selector.ask()) is not None:
        selector.tell(proposal, score=0.5)
    assert len(sample_configurations(selector, 10, effort=QUICK)) == 2


def test_what_cannot_be_sampled_is_refused() -> None:
    with pytest.raises(UsageError, match="n must be at least 1, found 0"):
        sample_configurations(SELECTOR, 0)
    with pytest.raises(UsageError, match="beta must be"):
        sample_configurations(SELECTOR, 1, beta=0.0)
    unseen = Belief(SELECTOR.belief().problem, Surrogate())
    with pytest.raises(UsageError, match="train at least one epoch"):
        sample_configurations(unseen, 1)
