"""A meta-trained surrogate: answers before it has seen anything, sharpens, and meets strangers."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, RandomForestRegressor

from fms_hub.errors import CheckpointError
from fms_hub.surrogate.foresight import READ, forest_columns, weights_columns
from fms_hub.surrogate.forest import LEAF, Forest
from fms_hub.surrogate.inputs import PROBES, Inputs
from fms_hub.surrogate.learned import (
    UNKNOWN,
    ByStage,
    Learned,
    Range,
    residual_groups,
)
from fms_hub.surrogate.scaling import Scaling
from fms_hub.surrogate.storage import FORMAT_VERSION
from fms_hub.surrogate.surrogate import LEARNED_FIT_STEPS, Surrogate
from training.meta.boosting import Boosting, as_arrays, averaged, boosted
from training.meta.train import blank

HYPERPARAMETERS = ("a", "b", "c")
LEAN, WIDENING = ByStage.by_start(fresh=0.5, begun=-0.25), ByStage(1.0, 4.0, 2.0, 3.0)


def example(n: int, seed: int = 0, extra: int = 0) -> tuple[Inputs, NDArray[np.float64]]:
    """Scores that follow the first hyperparameter, and, with ``extra``, one more that was never seen."""
    rng = np.random.default_rng(seed)
    hyperparameters = rng.random((n, len(HYPERPARAMETERS) + extra))
    scores = 0.2 + 0.5 * hyperparameters[:, 0] + (0.3 * hyperparameters[:, -1] if extra else 0.0)
    inputs = Inputs(
        hyperparameters,
        np.full((n, 2), 0.5),
        np.full((n, 6), np.nan),
        weights := rng.normal(size=(n, 7)),
        weights + rng.normal(size=(n, 7)),
        np.full((n, 4), 0.5),
        np.full((n, 2), 0.5),
        rng.random((n, 5)),
        np.full((n, len(PROBES)), np.nan),
        rng.integers(0, 3, n).astype(np.int64),
    )
    return inputs, scores


def constant(deviation: float) -> Forest:
    """What is always in the same doubt."""
    return Forest(
        roots=np.zeros(1, dtype=np.int32),
        feature=np.full(1, LEAF, dtype=np.int16),
        number=np.full(1, np.log(deviation), dtype=np.float32),
        right=np.zeros(1, dtype=np.int32),
        columns=9,
    )


@pytest.fixture(scope="module")
def learned() -> Learned:
    """A forest that was trained to say 0.2 + 0.5 a, and a process whose terms are typical."""
    inputs, scores = example(400, seed=9)
    model = RandomForestRegressor(30, max_features=1.0, min_samples_leaf=2, random_state=0)
    columns = forest_columns(inputs)
    forest = as_arrays(model.fit(columns, scores).estimators_, columns.shape[1], rate=1 / 30)
    widths = {name: getattr(inputs, name).shape[1] for name in READ}
    parameters = blank(residual_groups(widths)).parameters_by_name()
    seen = Range.of(inputs.weights, [2, 5])
    return Learned(
        HYPERPARAMETERS, widths, Scaling.of(inputs), forest, constant(0.1), parameters, seen, LEAN, WIDENING
    )


@pytest.fixture(scope="module")
def surrogate(learned: Learned) -> Surrogate:
    return Surrogate("taught", learned)


def test_it_answers_before_it_has_seen_anything(surrogate: Surrogate) -> None:
    inputs, scores = example(100, seed=1)
    posterior = surrogate.posterior(inputs)
    assert np.corrcoef(posterior.mean, scores)[0, 1] > 0.9
    assert np.abs(posterior.mean - scores).mean() < 0.06
    assert (posterior.std > 0).all()


def test_of_candidates_without_weights_the_number_of_parameters_decides(learned: Learned) -> None:
    inputs, _ = example(4, seed=1)
    inputs.weights[:, 0] = np.log([1e4, 1e5, 1e6, 1e6])
    taught = dataclasses.replace(learned, range=Range.of(inputs.weights, [0]))
    inputs.weights[1:] = np.nan
    inputs.metadata[:, 0] = [9.0, 5.0, 8.0, 0.0]  # within, a hundred times beyond, unknown
    assert taught.beyond(inputs) == pytest.approx([0.0, 0.0, 1.0, 0.0])
    assert taught.stretch(inputs) == pytest.approx([1.0, 1.0, 2.0, 1.0])


def test_an_offset_of_the_task_is_learned_from_few_scores(surrogate: Surrogate) -> None:
    inputs, scores = example(5, seed=2)
    queries, truth = example(100, seed=3)
    before = surrogate.posterior(queries)
    after = surrogate.condition(inputs, scores - 0.3).posterior(queries)
    assert np.abs(after.mean - (truth - 0.3)).mean() < 0.5 * np.abs(before.mean - (truth - 0.3)).mean()
    assert after.std.mean() < before.std.mean()


def test_a_fit_starts_from_what_was_learned_and_stays_near_it(surrogate: Surrogate) -> None:
    assert surrogate.learned is not None
    fitted = surrogate.fit(*example(40, seed=4), steps=10)
    assert fitted.parameters is not None
    moved = {
        name: float((value - surrogate.learned.parameters[name]).abs().max())
        for name, value in fitted.parameters.items()
    }
    assert max(moved.values()) > 1e-3
    assert max(v for name, v in moved.items() if "log_" in name) < 3.0
    assert surrogate.parameters is None


def test_unless_told_otherwise_a_fit_of_what_was_learned_takes_few_steps(surrogate: Surrogate) -> None:
    usual, few, many = (
        surrogate.fit(*example(40, seed=4), steps=steps).parameters for steps in (None, LEARNED_FIT_STEPS, 30)
    )
    assert usual is not None and few is not None and many is not None
    assert all(torch.equal(value, few[name]) for name, value in usual.items())
    assert not all(torch.equal(value, many[name]) for name, value in usual.items())


@pytest.mark.parametrize(
    "group", ["weights", "start", "task", "embedding", "metadata", "hyperparameters", "candidate"]
)
def test_missing_groups_are_normal(surrogate: Surrogate, group: str) -> None:
    inputs, scores = example(20)
    value = getattr(inputs, group)
    gone = -np.ones_like(value) if group == "candidate" else np.full_like(value, np.nan)
    stranger = dataclasses.replace(inputs, **{group: gone})
    assert np.isfinite(surrogate.condition(stranger, scores).posterior(stranger).mean).all()


def test_unknown_hyperparameters_join_the_process_but_not_the_forest(surrogate: Surrogate) -> None:
    inputs, scores = example(60, seed=5, extra=2)
    known = dataclasses.replace(inputs, hyperparameters=inputs.hyperparameters[:, :3])
    assert np.array_equal(surrogate.posterior(inputs).mean, surrogate.posterior(known).mean)
    queries, truth = example(100, seed=6, extra=2)
    conditioned = surrogate.fit(inputs, scores)
    assert conditioned.form is not None and UNKNOWN in {group.name for group in conditioned.form.groups}
    error = np.abs(conditioned.posterior(queries).mean - truth).mean()
    assert error < 0.5 * np.abs(surrogate.posterior(queries).mean - truth).mean()


def test_absent_weights_of_another_width_are_absent_and_present_ones_refused(surrogate: Surrogate) -> None:
    inputs, _ = example(5)
    gone = np.full((5, 1), np.nan)
    absent = dataclasses.replace(inputs, weights=gone, start=gone, task=gone)
    assert np.isfinite(surrogate.posterior(absent).mean).all()
    with pytest.raises(ValueError, match="7 weights features, this search has 9"):
        surrogate.posterior(dataclasses.replace(inputs, weights=np.zeros((5, 9))))


def test_it_is_less_sure_of_architectures_beyond_those_it_has_seen(surrogate: Surrogate) -> None:
    assert surrogate.learned is not None
    inputs, _ = example(4)
    seen = surrogate.learned.range
    weights = np.tile((seen.low[0] + seen.high[0]) / 2, (4, 7))
    weights[1, 2] = seen.high[0] + 2 * (seen.high[0] - seen.low[0])
    weights[2, 3] = 1e3
    weights[3] = np.nan
    queries = dataclasses.replace(inputs, weights=weights)
    np.testing.assert_allclose(surrogate.learned.stretch(queries), [1.0, 3.0, 1.0, 1.0])
    inside = dataclasses.replace(inputs, weights=np.where(weights > seen.high[0], seen.high[0], weights))
    ratio = surrogate.posterior(queries).std / surrogate.posterior(inside).std
    assert ratio[1] == pytest.approx(3.0, rel=0.05)


def test_deviations_have_a_factor_for_each_stage_that_a_run_is_seen_at(
    surrogate: Surrogate, learned: Learned
) -> None:
    inputs, _ = example(6)
    curve = np.array([0.5, np.nan, 0.2, 1 / 12, 0.51, 1.0])[:, None] * np.ones(6)
    queries = dataclasses.replace(inputs, curve=curve)
    even = dataclasses.replace(learned, widening=ByStage.by_start(1.0, 1.0))
    before, after = Surrogate("even", even).posterior(queries), surrogate.posterior(queries)
    np.testing.assert_allclose(after.std / before.std, [2.0, 1.0, 4.0, 4.0, 3.0, 3.0])
    assert np.array_equal(before.mean, after.mean)


def test_the_standing_of_a_candidate_moves_what_is_foreseen_by_its_lean(learned: Learned) -> None:
    inputs, _ = example(4)
    curve = np.where(np.array([[False], [False], [False], [True]]), 0.5, np.nan) * np.ones(6)
    probes = np.zeros((4, len(PROBES)))
    probes[:, PROBES.index("standing")] = [0.0, 1.0, -2.0, 1.0]
    queries = dataclasses.replace(inputs, curve=curve, probes=probes)
    without = dataclasses.replace(learned, lean=ByStage.by_start(0.0, 0.0)).rows(queries)
    moved = learned.rows(queries).mean - without.mean
    np.testing.assert_allclose(moved / without.deviation, [0.0, 0.5, -1.0, -0.25], atol=1e-12)
    nobody = dataclasses.replace(queries, probes=np.full_like(probes, np.nan))
    assert bool(learned.rows(nobody).mean.isfinite().all())


def test_the_candidates_number_is_not_read_by_the_forest(learned: Learned) -> None:
    inputs, _ = example(10)
    other = dataclasses.replace(inputs, candidate=(inputs.candidate + 1) % 3)
    assert torch.equal(learned.rows(inputs).mean, learned.rows(other).mean)


@pytest.mark.parametrize("state", ["taught", "conditioned", "fitted"])
def test_it_is_saved_and_comes_back_the_same(surrogate: Surrogate, tmp_path: Path, state: str) -> None:
    inputs, scores = example(30)
    kept = {
        "taught": surrogate,
        "conditioned": surrogate.condition(inputs, scores),
        "fitted": surrogate.fit(inputs, scores, steps=3),
    }[state]
    kept.save(tmp_path / "s.safetensors")
    loaded = Surrogate.load(tmp_path / "s.safetensors")
    queries, _ = example(20, seed=10)
    assert np.array_equal(loaded.posterior(queries).mean, kept.posterior(queries).mean)
    assert np.array_equal(loaded.posterior(queries).std, kept.posterior(queries).std)
    assert loaded.learned is not None and loaded.learned.hyperparameters == HYPERPARAMETERS
    assert (loaded.learned.lean, loaded.learned.widening) == (LEAN, WIDENING)
    again = loaded.fit(*example(20, seed=11), steps=3).posterior(queries)
    assert np.array_equal(again.mean, kept.fit(*example(20, seed=11), steps=3).posterior(queries).mean)


def test_a_damaged_header_is_refused_by_name(surrogate: Surrogate, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "s.safetensors"
    surrogate.save(path)
    save_file(
        load_file(path),
        path,
        {"config": json.dumps({"format_version": FORMAT_VERSION, "name": "x", "learned": {}})},
    )
    with pytest.raises(CheckpointError, match="damaged header"):
        Surrogate.load(path)


def test_the_forest_says_what_scikit_learn_says() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 6)), rng.normal(size=300)
    model = RandomForestRegressor(7, min_samples_leaf=3, random_state=0).fit(x, y)
    ours = as_arrays(model.estimators_, 6, rate=1 / 7).predict(np.vstack([x, rng.normal(size=(5000, 6))]))
    theirs = model.predict(np.vstack([x, np.random.default_rng(0).normal(size=(0, 6))]))
    np.testing.assert_allclose(ours[:300], theirs, atol=1e-6)
    assert len(ours) == 5300


def test_boosted_trees_say_what_scikit_learn_says_and_follow_the_scores() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 6)).astype(np.float32).astype(np.float64)
    y = 5.0 + x[:, 0] * (x[:, 1] > 0.0)
    how = Boosting(trees=80, rate=0.1, depth=4, smallest=5, rows=0.5, columns=0.5)
    model = GradientBoostingRegressor(
        n_estimators=80, learning_rate=0.1, max_depth=4, min_samples_leaf=5, subsample=0.5, max_features=0.5,
        init="zero", random_state=3,
    )  # fmt: skip
    found = boosted(x, y, how, seed=3).predict(x)
    np.testing.assert_allclose(found, y.mean() + model.fit(x, y - y.mean()).predict(x), atol=1e-5)
    assert np.corrcoef(found, y)[0, 1] > 0.95
    assert not np.array_equal(found, boosted(x, y, how, seed=4).predict(x))


def test_it_foresees_gains_on_the_last_score(learned: Learned) -> None:
    inputs, _ = example(6)
    fresh = learned.rows(inputs).mean
    curve = np.full((6, 6), 0.4)
    curve[:, 1] = np.linspace(0.1, 0.6, 6)
    seen = dataclasses.replace(inputs, curve=curve)
    expected = curve[:, 1] + learned.forest.predict(forest_columns(seen))
    np.testing.assert_allclose(learned.rows(seen).mean.numpy(), expected)
    np.testing.assert_allclose(fresh.numpy(), learned.forest.predict(forest_columns(inputs)))


def test_doubt_scales_what_is_believed(learned: Learned, surrogate: Surrogate) -> None:
    inputs, _ = example(10, seed=1)
    unsure = dataclasses.replace(surrogate, learned=dataclasses.replace(learned, doubt=constant(0.2)))
    np.testing.assert_allclose(unsure.posterior(inputs).std, 2.0 * surrogate.posterior(inputs).std, rtol=1e-5)
    np.testing.assert_allclose(unsure.posterior(inputs).mean, surrogate.posterior(inputs).mean)
    halved = surrogate.condition(inputs, learned.rows(inputs).mean.numpy() + 0.1).posterior(inputs)
    again = unsure.condition(inputs, learned.rows(inputs).mean.numpy() + 0.2).posterior(inputs)
    moved = [believed.mean - learned.rows(inputs).mean.numpy() for believed in (halved, again)]
    np.testing.assert_allclose(moved[1], 2.0 * moved[0], rtol=1e-5)


def test_two_boosted_sums_are_averaged_and_one_may_be_blind() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 6)), rng.normal(size=300)
    how = Boosting(trees=9, rate=0.3, depth=3, smallest=5, rows=0.5, columns=0.5)
    sighted, blind = boosted(x, y, how, 0), boosted(x, y, how, 1, np.array([0, 2, 5]))
    both = averaged([sighted, blind])
    np.testing.assert_allclose(both.predict(x), (sighted.predict(x) + blind.predict(x)) / 2, atol=1e-6)
    other = np.where(np.isin(np.arange(6), [0, 2, 5]), x, 0.0)
    assert np.array_equal(blind.predict(other), blind.predict(x))
    assert not np.array_equal(sighted.predict(other), sighted.predict(x))


@pytest.mark.parametrize(("said", "meant"), [(1e-9, 0.005), (1e9, 1.0)])
def test_doubt_stays_within_what_scores_can_be(learned: Learned, said: float, meant: float) -> None:
    odd = dataclasses.replace(learned, doubt=constant(said))
    np.testing.assert_allclose(odd.rows(example(3)[0]).deviation.numpy(), meant)


def test_weights_are_read_as_start_and_change(learned: Learned) -> None:
    inputs, _ = example(4)
    columns = forest_columns(inputs)
    start = len(HYPERPARAMETERS) + 2 + 6
    assert np.array_equal(columns[:, start : start + 7], inputs.start)
    assert np.array_equal(columns[:, start + 7 : start + 14], inputs.weights - inputs.start)
    assert np.flatnonzero(weights_columns(inputs)).tolist() == list(range(start, start + 14))


def test_rows_of_another_width_are_refused(learned: Learned) -> None:
    with pytest.raises(ValueError, match="read 9 columns, found 4"):
        learned.doubt.predict(np.zeros((2, 4)))


def tree(**changed: object) -> Forest:
    parts: dict[str, object] = {
        "roots": np.array([0], dtype=np.int32),
        "feature": np.array([1, -1, -1], dtype=np.int16),
        "number": np.array([0.5, 0.25, 0.75], dtype=np.float32),
        "right": np.array([2, 0, 0], dtype=np.int32),
        "columns": 2,
        **changed,
    }
    return Forest(**parts)  # type: ignore[arg-type]


def test_rows_at_the_threshold_go_left() -> None:
    rows = np.array([[9.0, 0.5], [9.0, 0.51], [9.0, -9.0]])
    assert tree().predict(rows).tolist() == [0.25, 0.75, 0.25]
    assert tree().predict(rows[:0]).tolist() == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"right": np.array([0, 0, 0], dtype=np.int32)}, "must follow"),
        ({"feature": np.array([1, -1, 0], dtype=np.int16)}, "must follow"),
        ({"right": np.array([3, 0, 0], dtype=np.int32)}, "must follow"),
        ({"columns": 1}, "beyond 1"),
        ({"roots": np.array([3], dtype=np.int32)}, "roots"),
        ({"number": np.zeros(2, dtype=np.float32)}, "same length"),
    ],
)
def test_trees_in_which_rows_would_never_arrive_are_refused(changed: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tree(**changed)


@pytest.mark.parametrize(
    ("tensor", "why"),
    [
        ("learned.forest.right", "is damaged: every child of a tree's node must follow it"),
        ("learned.widening", r"widened by 0\.0, 4\.0, 2\.0, 3\.0, expected > 0"),
    ],
)
def test_damaged_numbers_are_refused_by_name(
    surrogate: Surrogate, tmp_path: Path, tensor: str, why: str
) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "s.safetensors"
    surrogate.save(path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    tensors[tensor][0] = 0
    save_file(tensors, path, header)
    with pytest.raises(CheckpointError, match=why):
        Surrogate.load(path)
