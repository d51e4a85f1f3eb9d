"""Meta-training on small pools whose curves follow a rule that all tasks share."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from fms_hub.errors import UsageError
from fms_hub.search.encoding import lookbacks
from tests.taught import CANDIDATES, TASKS, pool
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.ours import Ours
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import read_splits
from training.meta.episodes import episode, final_rows, seen_rows, spend
from training.meta.fitting import Fitted, fit
from training.meta.table import NONE, Table, table_of
from training.meta.train import Settings, meta_train, without
from training.meta_train import jobs, surrogate_of


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    return [pool(name, seed) for seed, name in enumerate(TASKS)]


@pytest.fixture(scope="module")
def table(pools: Sequence[Pool]) -> Table:
    return table_of(pools[0])


@pytest.fixture(scope="module")
def fitted(pools: Sequence[Pool]) -> Fitted:
    return fit("three tasks", pools[1:], read_splits(), Settings(steps=200, width=24))


def test_a_table_asks_what_a_search_asks(table: Table, pools: Sequence[Pool]) -> None:
    run = pools[0].runs[3]
    row = table.row[3, 2, 6]
    assert table.scores[row] == pytest.approx((run.scores[5] - 0.25) / 0.75)
    assert table.inputs.curve[row][0] == pytest.approx(2 / 6)
    assert table.inputs.curve[row][1] == pytest.approx((run.scores[1] - 0.25) / 0.75)
    assert table.inputs.fidelity[row][0] == 1.0
    assert table.inputs.weights[row].tolist() == pools[0].sketches[run.id, 1].tolist()
    assert table.row[3, 1, 4] == NONE != table.row[3, 2, 4]
    assert np.isnan(table.inputs.curve[table.row[3, 0, 6]]).all()


def test_a_failed_epoch_counts_as_guessing_and_ends_the_run(table: Table) -> None:
    assert table.epochs[7] == 3
    assert table.scores[table.row[7, 2, 3]] == 0.0
    assert (table.row[7, :, 4:] == NONE).all()
    assert 7 not in table.finished and len(table.finished) == 39


@pytest.mark.parametrize("epochs", [0, 1, 60, 10_000])
def test_a_random_search_spends_what_it_was_given(table: Table, epochs: int) -> None:
    reached = spend(table, epochs, np.random.default_rng(1))
    assert reached.sum() == min(epochs, table.epochs.sum())
    assert (reached <= table.epochs).all()
    rows = seen_rows(table, reached)
    assert len(rows) == sum(len(lookbacks(e)) for most in reached for e in range(1, most + 1))
    assert NONE not in rows and len(set(rows)) == len(rows)


def test_an_episode_asks_only_about_what_is_not_known(table: Table) -> None:
    where = {int(table.row[i]): i for i in zip(*np.nonzero(table.row != NONE), strict=True)}
    for seed in range(30):
        drawn = episode(table, np.random.default_rng(seed))
        reached = {}
        for row in drawn.context:
            run, _, epoch = where[int(row)]
            reached[run] = max(epoch, reached.get(run, 0))
        for row in drawn.queries:
            run, seen, epoch = where[int(row)]
            assert epoch > seen
            assert len(drawn.context) == 128 or epoch > reached.get(run, 0)


def test_groups_of_inputs_can_be_left_out(table: Table) -> None:
    from training.meta.train import scaling_of

    scaling = scaling_of([table.inputs])
    groups = scaling.groups(table.inputs)
    columns = scaling.columns(table.inputs)
    blocks = dict(
        zip(
            [group.name for group in groups],
            torch.split(without(columns, groups, frozenset({"weights"})), [g.width + 1 for g in groups], 1),
            strict=True,
        )
    )
    assert not blocks["weights"].any()
    assert bool(blocks["hyperparameters"].any())


def test_it_repeats_from_its_seed_and_leaves_the_generator_alone(pools: Sequence[Pool]) -> None:
    tables = [table_of(one) for one in pools[:2]]
    before = torch.get_rng_state()
    first, second, other = (meta_train(tables, [], Settings(20, seed, 8)).model for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.encoder.to_mean.weight, other.encoder.to_mean.weight)


def test_the_best_state_on_the_validation_tasks_is_kept(pools: Sequence[Pool]) -> None:
    tables = [table_of(one) for one in pools]
    outcome = meta_train(tables[:2], tables[2:3], Settings(300, 0, 16))
    assert [step for step, _ in outcome.validation] == [100, 200, 300]
    assert outcome.step == min(outcome.validation, key=lambda look: look[1])[0]
    assert not outcome.model.training


def test_widening_scales_deviations_and_no_mean(pools: Sequence[Pool], table: Table) -> None:
    outcome = meta_train([table], [], Settings(20, 0, 8))
    columns = outcome.scaling.columns(table.inputs)
    scores = torch.from_numpy(table.scores)
    with torch.no_grad():
        before = outcome.model.believe(columns[:30], scores[:30], columns[30:60])
        outcome.model.widen(3.0)
        after = outcome.model.believe(columns[:30], scores[:30], columns[30:60])
    torch.testing.assert_close(after.mean, before.mean, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(after.variance, 9.0 * before.variance, rtol=1e-5, atol=0)


def test_a_surrogate_ranks_runs_of_a_new_task_before_and_after_it_has_seen_any(
    fitted: Fitted, pools: Sequence[Pool]
) -> None:
    finals = pools[0].finals()
    ours = Ours(fitted.surrogate, refit=0)
    environment = Environment(pools[0], budget=60)
    before = ours.finals(environment)
    assert kendalltau(before.mean, finals).statistic > 0.5
    with pytest.raises(BudgetSpent):
        ours(environment, np.random.default_rng(0))
    after = ours.finals(environment)
    assert len(environment.history) == 60
    assert kendalltau(after.mean, finals).statistic > 0.6
    assert after.std.mean() < before.std.mean()
    assert max(o.score or 0.0 for o in environment.history) == max(max(run.scores) for run in pools[0].runs)


def test_it_says_how_it_came_about(fitted: Fitted) -> None:
    assert set(fitted.validation) == {"flowers", "faces", "traffic signs"}
    assert 100 <= fitted.steps <= 200
    assert fitted.widened > 0
    assert fitted.surrogate.learned is not None
    assert fitted.surrogate.learned.hyperparameters[0] == "learning_rate"


def test_tasks_of_one_group_are_not_enough(pools: Sequence[Pool]) -> None:
    other = replace(pools[0], task=replace(pools[0].task, name="mnist"))
    with pytest.raises(UsageError, match="at least two groups, found characters"):
        fit("x", [pools[0], other], read_splits(), Settings(steps=1))


def test_each_job_leaves_out_a_group_and_candidates_that_saw_it(pools: Sequence[Pool]) -> None:
    found = {one.task.name: one for one in pools}
    made = list(jobs(found, read_splits(), leave_out=True))
    assert [job.name for job in made] == [
        "without-characters", "without-flowers", "without-traffic_signs", "without-faces",
    ]  # fmt: skip
    assert [one.task.name for one in made[0].pools] == ["flowers5", "smiles", "gtsrb"]
    assert {run.candidate for one in made[0].pools for run in one.runs} == {CANDIDATES[0]}
    assert {run.candidate for one in made[1].pools for run in one.runs} == set(CANDIDATES)
    (everything,) = jobs(found, read_splits(), leave_out=False)
    assert (everything.name, len(everything.pools)) == ("all", 4)


def test_the_question_how_runs_end_is_there_for_every_finished_run(table: Table) -> None:
    reached = np.minimum(np.arange(40) % 7, table.epochs)
    rows = final_rows(table, reached)
    assert len(rows) == len(table.finished)
    assert table.scores[rows].tolist() == [table.scores[table.row[run, 0, 6]] for run in table.finished]


def test_a_stopped_command_goes_on_where_it_stopped(tmp_path: Path, pools: Sequence[Pool]) -> None:
    assert surrogate_of(tmp_path, frozenset({"traffic signs"})) is None
    there = tmp_path / "without-traffic_signs.safetensors"
    there.write_bytes(b"kept")
    assert surrogate_of(tmp_path, frozenset({"traffic signs"})) == there
    assert surrogate_of(None, frozenset({"traffic signs"})) is None
