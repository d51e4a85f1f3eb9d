"""A meta-trained surrogate: answers before it has seen anything, sharpens, and meets strangers."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fms_hub.errors import CheckpointError
from fms_hub.finetune.seeding import seeded
from fms_hub.surrogate.encoder import LATENT, Encoder
from fms_hub.surrogate.inputs import Inputs
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.learned import UNKNOWN, Learned, Range
from fms_hub.surrogate.process import Form, Process
from fms_hub.surrogate.scaling import Scaling
from fms_hub.surrogate.surrogate import Surrogate

HYPERPARAMETERS = ("a", "b", "c")


def example(n: int, seed: int = 0, extra: int = 0) -> tuple[Inputs, NDArray[np.float64]]:
    """Scores that follow the first hyperparameter, and, with ``extra``, one more that was never seen."""
    rng = np.random.default_rng(seed)
    hyperparameters = rng.random((n, len(HYPERPARAMETERS) + extra))
    scores = 0.2 + 0.5 * hyperparameters[:, 0] + (0.3 * hyperparameters[:, -1] if extra else 0.0)
    inputs = Inputs(
        hyperparameters,
        np.full((n, 2), 0.5),
        np.full((n, 6), np.nan),
        rng.normal(size=(n, 7)),
        np.full((n, 4), 0.5),
        rng.integers(0, 3, n).astype(np.int64),
    )
    return inputs, scores


@pytest.fixture(scope="module")
def learned() -> Learned:
    """An encoder that was trained to say 0.2 + 0.5 a."""
    inputs, scores = example(200, seed=9)
    scaling = Scaling.of(inputs)
    groups = scaling.groups(inputs)
    with seeded(0):
        encoder = Encoder(groups, width=16, latent=13, dropout=0.0).double()
    columns, targets = scaling.columns(inputs), torch.from_numpy(scores)
    optimiser = torch.optim.Adam(encoder.parameters(), 1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        (encoder(columns).mean - targets).square().mean().backward()
        optimiser.step()
    encoder.eval().requires_grad_(False)
    form = Form((*groups, Group(LATENT, 13, linear=True)), offset=True)
    nothing = torch.zeros(1, form.width, dtype=torch.float64)
    process = Process(nothing, nothing[:, 0], form)
    with torch.no_grad():
        for name, value in process.covar_module.named_parameters():
            if name.startswith(("log_scale", "log_linear")):
                value.sub_(4.0)
    seen = Range.of(inputs.weights, [2, 5])
    return Learned(HYPERPARAMETERS, scaling, groups, encoder, process.parameters_by_name(), seen)


@pytest.fixture(scope="module")
def surrogate(learned: Learned) -> Surrogate:
    return Surrogate("taught", learned)


def test_it_answers_before_it_has_seen_anything(surrogate: Surrogate) -> None:
    inputs, scores = example(100, seed=1)
    posterior = surrogate.posterior(inputs)
    assert np.corrcoef(posterior.mean, scores)[0, 1] > 0.9
    assert np.abs(posterior.mean - scores).mean() < 0.06
    assert (posterior.std > 0).all()


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


@pytest.mark.parametrize("group", ["weights", "task", "hyperparameters", "candidate"])
def test_missing_groups_are_normal(surrogate: Surrogate, group: str) -> None:
    inputs, scores = example(20)
    value = getattr(inputs, group)
    gone = -np.ones_like(value) if group == "candidate" else np.full_like(value, np.nan)
    stranger = dataclasses.replace(inputs, **{group: gone})
    assert np.isfinite(surrogate.condition(stranger, scores).posterior(stranger).mean).all()


def test_unknown_hyperparameters_join_the_process_but_not_the_encoder(surrogate: Surrogate) -> None:
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
    absent = dataclasses.replace(inputs, weights=np.full((5, 1), np.nan), task=np.full((5, 1), np.nan))
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


def test_the_candidates_number_is_not_read_by_the_encoder(learned: Learned) -> None:
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
    again = loaded.fit(*example(20, seed=11), steps=3).posterior(queries)
    assert np.array_equal(again.mean, kept.fit(*example(20, seed=11), steps=3).posterior(queries).mean)


def test_a_damaged_header_is_refused_by_name(surrogate: Surrogate, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = tmp_path / "s.safetensors"
    surrogate.save(path)
    save_file(load_file(path), path, {"config": '{"format_version": 2, "name": "x", "learned": {}}'})
    with pytest.raises(CheckpointError, match="damaged header"):
        Surrogate.load(path)
