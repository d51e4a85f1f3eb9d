"""The surrogate: learns, says how sure it is, never changes, and is saved strictly."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from fms_hub.errors import CheckpointError
from fms_hub.surrogate import surrogate as under_test
from fms_hub.surrogate.inputs import Inputs, concatenate
from fms_hub.surrogate.surrogate import Surrogate


def example(n: int, seed: int = 0) -> tuple[Inputs, NDArray[np.float64]]:
    """Scores that depend on a hyperparameter, on the epoch and on the candidate's weights."""
    rng = np.random.default_rng(seed)
    hyperparameters = rng.random((n, 4))
    epoch = rng.integers(1, 13, n)
    candidate = rng.integers(0, 5, n)
    quality = np.linspace(0.0, 0.2, 5)[candidate]
    weights = np.stack([quality * k for k in range(1, 21)], axis=1) + 0.001 * rng.normal(size=(n, 20))
    before = 0.3 + quality + 0.3 * hyperparameters[:, 0] * (1 - np.exp(-(epoch - 1) / 4))
    scores = (
        0.3 + quality + 0.3 * hyperparameters[:, 0] * (1 - np.exp(-epoch / 4)) + 0.005 * rng.normal(size=n)
    )
    curve = np.stack([before, before, before / 2, 0.1 * before, 1 - before], axis=1)
    curve[epoch == 1] = np.nan
    fidelity = np.stack([epoch / 12, 0.5 + 0.1 * np.log10(epoch)], axis=1)
    none, task = np.full((n, 2), np.nan), np.full((n, 3), 0.5)
    inputs = Inputs(
        hyperparameters, fidelity, curve, weights, none, task, none, none, none, candidate.astype(np.int64)
    )
    return inputs, scores


def absent(inputs: Inputs, group: str) -> Inputs:
    return dataclasses.replace(inputs, **{group: np.full_like(getattr(inputs, group), np.nan)})


@pytest.fixture(scope="module")
def fitted() -> Surrogate:
    return Surrogate().fit(*example(60))


def test_it_predicts_unseen_scores_better_than_the_mean_and_knows_how_well(fitted: Surrogate) -> None:
    inputs, scores = example(200, seed=1)
    posterior = fitted.posterior(inputs)
    error = np.sqrt(np.mean((posterior.mean - scores) ** 2))
    assert error < 0.3 * scores.std()
    inside = np.abs(posterior.mean - scores) < 1.645 * posterior.std
    assert 0.8 < inside.mean() <= 1.0


@pytest.mark.parametrize("group", ["curve", "weights", "task"])
def test_absent_groups_are_normal(group: str) -> None:
    inputs, scores = example(40)
    queries, truth = example(100, seed=2)
    posterior = Surrogate().fit(absent(inputs, group), scores).posterior(absent(queries, group))
    assert np.isfinite(posterior.mean).all()
    assert np.corrcoef(posterior.mean, truth)[0, 1] > 0.8


def test_missing_weights_cost_certainty(fitted: Surrogate) -> None:
    queries, _ = example(50, seed=3)
    stranger = dataclasses.replace(queries, candidate=np.full(50, -1, dtype=np.int64))
    assert fitted.posterior(absent(stranger, "weights")).std.mean() > fitted.posterior(stranger).std.mean()


def test_fit_and_condition_leave_the_original_as_it_was(fitted: Surrogate) -> None:
    queries, _ = example(20, seed=4)
    before = fitted.posterior(queries).mean
    fitted.fit(*example(30, seed=5))
    fitted.condition(*example(30, seed=6))
    assert np.array_equal(fitted.posterior(queries).mean, before)


def test_conditioning_on_an_observation_pulls_the_posterior_to_it(fitted: Surrogate) -> None:
    inputs, scores = example(60)
    query, _ = example(1, seed=7)
    before = fitted.posterior(query)
    told = concatenate([inputs, query])
    after = fitted.condition(told, np.append(scores, before.mean + 0.1)).posterior(query)
    assert after.mean[0] > before.mean[0] + 0.02
    assert after.std[0] < before.std[0]


def test_the_posterior_is_that_of_the_textbook(fitted: Surrogate) -> None:
    """mean = K* (K + s^2 I)^-1 y and its variance (Rasmussen & Williams 2006, eq. 2.25 and 2.26)."""
    assert fitted.data is not None and fitted.scaling is not None
    process = fitted._process(fitted.data)
    queries, _ = example(15, seed=8)
    x, q = fitted.data.x, fitted.scaling.columns(queries)
    with torch.no_grad():
        kernel = process.covar_module
        noise, constant = process.likelihood.noise, process.mean_module.constant
        k = kernel(x).to_dense() + noise * torch.eye(len(x), dtype=torch.float64)
        cross = kernel(q, x).to_dense()
        mean = constant + cross @ torch.linalg.solve(k, fitted.data.y - constant)
        prior = kernel(q).to_dense().diagonal()
        variance = prior - (cross * torch.linalg.solve(k, cross.T).T).sum(1) + noise
    posterior = fitted.posterior(queries)
    np.testing.assert_allclose(
        posterior.mean, fitted.data.centre + fitted.data.spread * mean.numpy(), rtol=1e-8
    )
    np.testing.assert_allclose(posterior.std, fitted.data.spread * variance.sqrt().numpy(), rtol=1e-6)


def test_equal_data_give_equal_fits() -> None:
    queries, _ = example(10, seed=9)
    first, second = (Surrogate().fit(*example(20)).posterior(queries) for _ in range(2))
    assert np.array_equal(first.mean, second.mean)
    assert np.array_equal(first.std, second.std)


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5], [0.0, 1.0]])
def test_few_or_equal_scores_are_enough_to_condition(scores: list[float]) -> None:
    inputs, _ = example(len(scores))
    posterior = Surrogate().condition(inputs, np.array(scores)).posterior(example(30)[0])
    assert np.isfinite(posterior.mean).all()
    assert (posterior.std > 0).all()


def test_predicting_without_observations_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one observation"):
        Surrogate().posterior(example(2)[0])


def test_a_saved_surrogate_comes_back_with_equal_predictions(fitted: Surrogate, tmp_path: Path) -> None:
    fitted.save(tmp_path / "s.safetensors")
    queries, _ = example(20, seed=10)
    loaded = Surrogate.load(tmp_path / "s.safetensors")
    assert np.array_equal(loaded.posterior(queries).mean, fitted.posterior(queries).mean)
    assert loaded.name == fitted.name


def damage(path: Path, kind: str) -> None:
    tensors = load_file(path)
    config = {"format_version": 1, "name": "x", "groups": []}
    raw = path.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    config = json.loads(header["__metadata__"]["config"])
    if kind == "version":
        config["format_version"] = 99
    elif kind == "missing":
        del tensors["scaling.task_spread"]
    elif kind == "extra":
        tensors["surprise"] = torch.zeros(1)
    elif kind == "shape":
        tensors["scaling.task_spread"] = torch.ones(7, dtype=torch.float64)
    elif kind == "dtype":
        tensors["scaling.task_spread"] = tensors["scaling.task_spread"].float()
    elif kind == "nan":
        tensors["data.y"][0] = float("nan")
    save_file(tensors, path, {"config": json.dumps(config)})


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("version", "version 99"),
        ("missing", "scaling.task_spread is missing"),
        ("extra", "surprise is not expected"),
        ("shape", r"scaling.task_spread has shape \(7,\)"),
        ("dtype", "scaling.task_spread is torch.float32"),
        ("nan", "data.y holds NaN"),
    ],
)
def test_a_damaged_file_is_refused_by_name(fitted: Surrogate, tmp_path: Path, kind: str, why: str) -> None:
    path = tmp_path / "s.safetensors"
    fitted.save(path)
    damage(path, kind)
    with pytest.raises(CheckpointError, match=why):
        Surrogate.load(path)


def test_files_that_are_no_surrogate_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a surrogate"):
        Surrogate.load(tmp_path / "absent.safetensors")
    (tmp_path / "text.safetensors").write_text("hello")
    with pytest.raises(CheckpointError, match="not a surrogate"):
        Surrogate.load(tmp_path / "text.safetensors")


def test_very_many_rows_are_seen_through_inducing_ones(fitted: Surrogate) -> None:
    inputs, scores = example(200, seed=7)
    queries, _ = example(20, seed=8)
    conditioned = fitted.condition(inputs, scores)
    exact = conditioned.posterior(queries)
    spread = np.linspace(0, 199, 50).astype(np.int64)
    thinned = fitted.condition(inputs.rows(spread), scores[spread]).posterior(queries)
    induced = dataclasses.replace(conditioned, exact_up_to=50, inducing=50).posterior(queries)
    assert np.abs(induced.mean - exact.mean).mean() < np.abs(thinned.mean - exact.mean).mean()
    assert (induced.std > 0.99 * exact.std).all()
    assert not np.array_equal(induced.mean, exact.mean)


@pytest.mark.parametrize("name", ["predict", "predict_through", "maximise_posterior"])
def test_the_process_takes_one_thread(fitted: Surrogate, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told = getattr(under_test, name)
    threads = []

    def noting(*given: Any) -> Any:
        threads.append(torch.get_num_threads())
        return told(*given)

    monkeypatch.setattr(under_test, name, noting)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = dataclasses.replace(fitted, exact_up_to=0 if name == "predict_through" else 1000)
        again.fit(*example(20)).posterior(example(5)[0])
        assert threads == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
