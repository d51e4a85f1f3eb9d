"""What is asked of candidates besides a score: read, measured once, and kept to."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from fms_hub.errors import CandidateError, CheckpointError, StorageError, UsageError
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.catalog import resolve
from fms_hub.search.measuring import FILE_NAME, KeptCosts, costs_of, latency, measure, read_costs, write_costs
from fms_hub.search.objectives import Cost, Goals, in_units
from fms_hub.tasks.task import task_from_arrays

CPU = torch.device("cpu")
COSTS: dict[str, dict[Cost, float]] = {
    "small": {"latency": 9.0, "parameters": 1e5},
    "fast": {"latency": 2.0, "parameters": 3e7},
    "both": {"latency": 10.0, "parameters": 4e7},
}


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    scans = load_digits()
    pixels = np.clip(scans.images[:120] * 16, 0, 255).astype(np.uint8)
    task = task_from_arrays("digits", [str(c) for c in range(10)], train=(pixels, scans.target[:120]))
    return Trainer(task, image_size=32, device="cpu")


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [("5ms", 5.0), ("5 ms", 5.0), ("0.25s", 250.0), ("800us", 0.8), ("7", 7.0), (2.5, 2.5), ("1e1MS", 10.0)],
)
def test_a_latency_is_read_in_milliseconds(given: str | float, milliseconds: float) -> None:
    assert Goals.parse(("score",), max_latency=given).limits == {"latency": pytest.approx(milliseconds)}


@pytest.mark.parametrize(
    ("given", "count"),
    [("1M", 1e6), ("2.5m", 2.5e6), ("250k", 25e4), ("1.3B", 1.3e9), ("5e5", 5e5), (7, 7.0)],
)
def test_parameters_are_read_in_thousands_and_millions(given: str | int, count: float) -> None:
    assert Goals.parse(("score",), max_parameters=given).limits == {"parameters": pytest.approx(count)}


@pytest.mark.parametrize(
    "given", ["soon", "5 epochs", "-5ms", "0ms", "", 0.0, float("nan"), float("inf"), "1M"]
)
def test_a_latency_that_cannot_be_is_refused(given: str | float) -> None:
    with pytest.raises(UsageError, match="max_latency reads like '5ms'"):
        Goals.parse(("score",), max_latency=given)


@pytest.mark.parametrize("given", ["many", "5ms", "-1M", 0, "0k"])
def test_a_number_of_parameters_that_cannot_be_is_refused(given: str | int) -> None:
    with pytest.raises(UsageError, match="max_parameters reads like '1M'"):
        Goals.parse(("score",), max_parameters=given)


@pytest.mark.parametrize(
    "objectives",
    [
        (), ("latency",), ("score", "price"), ("score", "score"), ("score", "latency", "parameters"),
        "latency", ("score", "latency", "latency"),
    ],
)  # fmt: skip
def test_objectives_that_cannot_be_are_refused(objectives: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="objectives are 'score', alone or with one of latency"):
        Goals.parse(objectives)


def test_goals_say_what_they_need_and_what_a_search_of_theirs_is() -> None:
    assert Goals.parse(("score",)) == Goals.parse("score") == Goals()
    assert (Goals().costs, Goals().identity(CPU)) == ((), {})
    goals = Goals.parse(("latency", "score"), max_parameters="1M")
    assert (goals.cost, goals.costs) == ("latency", ("latency", "parameters"))
    expected = {"objectives": "score, latency", "max_parameters": "1e+06", "device": "cpu"}
    assert goals.identity(CPU) == expected
    assert "device" not in Goals.parse(("score", "parameters")).identity(CPU)


def test_memory_is_not_measured_where_nobody_counts_it() -> None:
    with pytest.raises(UsageError, match="CUDA devices only, this search runs on 'cpu'"):
        Goals.parse(("score", "peak_memory")).require_device(CPU)
    Goals.parse(("score", "peak_memory")).require_device(torch.device("cuda"))
    Goals.parse(("score", "latency")).require_device(CPU)


def test_limits_leave_those_that_keep_them_all() -> None:
    assert Goals().within(COSTS) == ("small", "fast", "both")
    assert Goals(limits={"latency": 9.0}).within(COSTS) == ("small", "fast")
    assert Goals(limits={"latency": 9.0, "parameters": 1e6}).within(COSTS) == ("small",)


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        (
            {"latency": 1.0},
            r"none of 3 .* max_latency of 1 ms is kept by none, the smallest is 2 ms \(fast\)",
        ),
        (
            {"latency": 5.0, "parameters": 1e6},
            r"max_latency of 5 ms is kept by 1 \(fast\), the smallest is 2 ms \(fast\); "
            r"max_parameters of 1,000,000 is kept by 1 \(small\), the smallest is 100,000 \(small\)",
        ),
    ],
)
def test_limits_that_nobody_keeps_say_which_one_empties_the_list(limits: dict[Cost, float], why: str) -> None:
    with pytest.raises(CandidateError, match=why):
        Goals(limits=limits).within(COSTS)


def test_costs_are_told_in_their_units() -> None:
    assert in_units("latency", 4.267) == "4.27 ms"
    assert in_units("parameters", 373658.0) == "373,658"
    assert in_units("peak_memory", 81.52) == "81.5 MB"


class Sleeper(nn.Module):
    """Counts its forward passes and remembers how they were made."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[bool, bool]] = []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append((self.training, torch.is_grad_enabled()))
        work = image
        for _ in range(20):
            work = work @ work
        return work


def test_a_latency_is_that_of_evaluation_without_gradients_and_grows_with_the_work() -> None:
    module = Sleeper().train()
    small, large = (latency(module, torch.eye(size)[None, None]) for size in (8, 512))
    assert set(module.seen) == {(False, False)}
    assert module.training
    assert 0 < small < large


def test_costs_of_real_networks_are_measured_at_the_trainers_size(trainer: Trainer) -> None:
    (candidate,) = resolve("scratch:test_resnet")
    found = measure(candidate, trainer, ("latency", "parameters"))
    assert found["parameters"] == 373_658
    assert 0.01 < found["latency"] < 5000
    assert set(measure(candidate, trainer, ("parameters",))) == {"parameters"}


def test_what_was_measured_once_is_read_back(trainer: Trainer, tmp_path: Path) -> None:
    chosen = resolve(["scratch:test_resnet", "scratch:test_vit"])
    first = costs_of(chosen, trainer, ("latency",), tmp_path, progress=False)
    assert not (tmp_path / FILE_NAME).exists()
    write_costs(tmp_path, first)
    assert read_costs(tmp_path) == first
    assert costs_of(chosen, trainer, ("latency",), tmp_path, progress=False) == first
    other = KeptCosts({**first.setting, "image_size": "64"}, first.fingerprints, first.costs)
    write_costs(tmp_path, other)
    assert costs_of(chosen, trainer, ("latency",), tmp_path, progress=False).costs != first.costs


def test_other_weights_or_another_cost_are_measured_anew(trainer: Trainer) -> None:
    (candidate,) = resolve("scratch:test_resnet")
    kept = KeptCosts({}, {candidate.name: candidate.fingerprint}, {candidate.name: {"latency": 1.0}})
    assert kept.of(candidate, ("latency",)) == {"latency": 1.0}
    assert kept.of(candidate, ("latency", "parameters")) is None
    assert KeptCosts({}, {candidate.name: "other"}, kept.costs).of(candidate, ("latency",)) is None
    assert KeptCosts({}, {}, {}).of(candidate, ("latency",)) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": 2},
        {"costs": {"a": {"latency": -1.0}}},
        {"costs": {"a": {"latency": "1"}}},
        {"costs": 3},
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    write_costs(tmp_path, KeptCosts({"device": "cpu"}, {"a": "1"}, {"a": {"latency": 1.0}}))
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(CheckpointError, match=r"costs\.json is damaged"):
        read_costs(tmp_path)


def test_a_folder_that_is_not_there_cannot_keep_them(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_costs(tmp_path / "absent", KeptCosts({}, {}, {}))
