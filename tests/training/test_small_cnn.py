import json
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fms_hub.corpus.shards import read_shards, read_tensors
from fms_hub.tasks.dataset import load_task
from fms_hub.tasks.task import Task
from fms_hub.weights.graph import COLUMNS
from training.corpus.plain import PLAIN, plain_statistics
from training.corpus.plan import PlannedRun
from training.corpus.runlog import RunLog
from training.corpus.small_cnn import GreyTask, train_run
from training.corpus.small_net import PIXELS, REPEATED, SmallCNN, initialise, plan, repeats
from training.weight_passing.passing import L2
from training.worth.hub import Hub, load_hub, pool_nodes
from training.worth.passing import with_l2

HORIZON = 4
CONFIGURATION = {
    "initialisation": "he_normal",
    "initial_scale": 1.0,
    "activation": "relu",
    "optimiser": "adam",
    "learning_rate": 1e-2,
    "weight_decay": 1e-6,
    "dropout": 0.1,
    "batch_size": 32,
    "train_fraction": 1.0,
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def digits() -> Task:
    return load_task("digits", seed=0)


@pytest.fixture(scope="module")
def task(digits: Task) -> GreyTask:
    return GreyTask.of(digits)


def run(horizon: int = HORIZON, **changes: object) -> PlannedRun:
    return PlannedRun("digits", "small-cnn", CONFIGURATION | changes, horizon, 0)


@pytest.fixture(scope="module")
def log(task: GreyTask) -> RunLog:
    return train_run(run(), task, keep_raw=True)


def test_grey_images_are_standardised_over_the_training_split(task: GreyTask) -> None:
    assert task.train[0].shape[1:] == (1, PIXELS, PIXELS)
    assert task.train[0].mean().item() == pytest.approx(0, abs=1e-4)
    assert task.train[0].std().item() == pytest.approx(1, abs=1e-4)
    assert task.validation[0].mean().item() != 0


def test_a_run_learns_and_logs_every_epoch_and_the_sketched_ones(log: RunLog) -> None:
    assert [row.epoch for row in log.rows] == list(range(HORIZON + 1))
    assert [row.sketch is not None for row in log.rows] == [True, True, True, False, True]
    assert set(log.graphs) == {row.sketch for row in log.rows if row.sketch}
    assert log.rows[0].train_loss is None
    scores = [row.validation_score for row in log.rows]
    assert scores[0] is not None and scores[-1] is not None
    assert scores[-1] > scores[0] + 0.3
    assert [row.test_score is not None for row in log.rows] == [False] * HORIZON + [True]


def test_a_run_repeats_from_its_seed_and_leaves_the_generator_alone(task: GreyTask, log: RunLog) -> None:
    before = torch.get_rng_state()
    again = train_run(run(), task, keep_raw=True)
    assert torch.equal(before, torch.get_rng_state())
    assert again.rows == log.rows
    assert all(np.array_equal(again.raw[key], log.raw[key]) for key in log.raw)


def test_the_sketch_describes_the_weights_kept_beside_it(log: RunLog) -> None:
    key = f"{run().id}/{HORIZON}"
    rms = log.graphs[key].x[:, COLUMNS.index("log_rms")]
    kept = [f"convs.{i}.weight" for i in range(3)] + ["head.weight"]
    expected = [np.log(np.sqrt(np.mean(log.raw[f"{key}/{name}"].astype(np.float64) ** 2))) for name in kept]
    assert rms[1:5] == pytest.approx(expected, abs=5e-3)


def test_a_diverging_run_fails_and_stops(task: GreyTask) -> None:
    rows = train_run(run(optimiser="sgd", learning_rate=1e30), task, keep_raw=False).rows
    assert (rows[-1].status, rows[-1].reason) == ("failed", "diverged")
    assert len(rows) == 2


def test_initial_weights_have_the_deviation_asked_for() -> None:
    torch.manual_seed(0)
    net = SmallCNN(10)
    initialise(net, "normal", 2.0)
    assert net.convs[1].weight.std().item() == pytest.approx(0.2, rel=0.05)
    assert not net.head.bias.any()


def test_a_longer_plan_begins_with_a_shorter_one_and_takes_tasks_in_turn() -> None:
    runs = list(islice(plan(["a", "b"], 0), 6))
    assert runs[:4] == list(islice(plan(["a", "b"], 0), 4))
    assert [planned.task for planned in runs] == ["a", "b"] * 3
    assert len({planned.id for planned in runs}) == 6
    assert next(plan(["a", "b"], 1)).hyperparameters != runs[0].hyperparameters


def test_plain_statistics_by_hand() -> None:
    net = SmallCNN(2)
    from fms_hub.weights.trace import trace

    structure = trace(net, (1, PIXELS, PIXELS))
    state = {name: torch.zeros_like(value) for name, value in net.state_dict().items()}
    state["convs.1.bias"] = torch.arange(16.0)
    row = plain_statistics(structure, state)[2]
    assert row[PLAIN.index("bias_mean")] == 7.5
    assert row[PLAIN.index("bias_variance")] == pytest.approx(21.25)
    assert [row[PLAIN.index(f"bias_q{q}")] for q in (0, 25, 50, 75, 100)] == [0, 3.75, 7.5, 11.25, 15]
    assert not row[: len(PLAIN) // 2].any()
    pooled = pool_nodes(structure, plain_statistics(structure, state).astype(np.float64))
    assert pooled.shape == (8 * len(PLAIN),)
    assert pooled[PLAIN.index("bias_mean")] == pytest.approx(7.5 * 2320 / (160 + 2 * 2320 + 34))


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, task: GreyTask, log: RunLog) -> Hub:
    folder: Path = tmp_path_factory.mktemp("hub")
    both = RunLog()
    both.add(log)
    both.add(train_run(run(activation="tanh"), task, keep_raw=True))
    both.write(folder)
    assert len(read_shards(folder)) == 2 * (HORIZON + 1)
    assert set(read_tensors(folder, "raw")) == set(both.raw)
    return load_hub(folder)


def test_a_hub_is_read_back_as_tables(hub: Hub, log: RunLog) -> None:
    assert hub.runs[0] == run().id
    assert hub.final[0] == log.rows[-1].validation_score
    assert sorted(hub.views) == [1, 2, 4]
    curve = hub.views[2].blocks["curve"][0]
    scores = [row.validation_score or 0 for row in log.rows[1:3]]
    assert curve[:4] == pytest.approx([scores[1], max(scores), scores[0], scores[1] - scores[0]])
    graph = log.graphs[f"{run().id}/1"]
    assert hub.views[1].graphs[0].structure == graph.structure
    off = np.abs(hub.views[1].graphs[0].sketch - graph.sketch)
    assert (off <= np.ptp(graph.sketch, axis=0) / 500 + 1e-3).all()
    assert hub.views[1].blocks["metadata"].shape == (2, 0)
    assert np.flatnonzero(np.ptp(hub.views[1].blocks["hyperparameters"], axis=0)).tolist() == [6]


def test_one_configuration_in_seventeen_is_repeated_with_another_seed():
    runs = list(islice(plan(["a", "b"], seed=3), 5 * (REPEATED + 1)))
    again = [run for run in runs if run.seed != 3]
    assert len(again) == 5
    first = {json.dumps(run.hyperparameters): run for run in runs if run.seed == 3}
    for run in again:
        original = first[json.dumps(run.hyperparameters)]
        assert (run.task, run.seed) == (original.task, 4)
        assert run.id != original.id
    assert {run.task for run in again} == {"a", "b"}


def test_l2_describes_the_kept_weights_of_every_run(hub: Hub) -> None:
    block = with_l2(hub).views[2].blocks["L2"]
    assert block.shape == (2, 4 * len(L2))
    assert np.ptp(block, axis=0).any()
    raw = {k: v for k, v in hub.raw.items() if not k.startswith(f"{hub.runs[0]}/2/")}
    raw |= {k.replace(hub.runs[1], hub.runs[0]): v for k, v in hub.raw.items() if f"{hub.runs[1]}/2/" in k}
    assert not np.ptp(with_l2(replace(hub, raw=raw)).views[2].blocks["L2"], axis=0).any()


def test_a_hub_without_all_weights_has_no_l2(hub: Hub) -> None:
    raw = {key: value for key, value in hub.raw.items() if not key.startswith(hub.runs[1])}
    assert "L2" not in with_l2(replace(hub, raw=raw)).views[2].blocks


def test_repeats_are_runs_that_are_there_with_the_next_seed() -> None:
    base = {"candidate": "small-cnn", "hyperparameters": json.dumps(CONFIGURATION), "horizon": 4, "epoch": 4}
    ids = [f"{number:016x}" for number in range(REPEATED * 3)]
    ended = [{**base, "run": run, "task": "digits", "seed": 0} for run in ids]
    others = [{**ended[0], "seed": 5}, {**ended[REPEATED], "run": f"{4 * REPEATED:016x}", "epoch": 2}]
    again = repeats(pd.DataFrame(ended + others), 0)
    assert again == [replace(run(), seed=1)] * 3
