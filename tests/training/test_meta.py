"""Meta-training on small pools whose curves follow a rule that all tasks share."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from scipy.stats import kendalltau

from fms_hub.errors import UsageError
from fms_hub.search.encoding import lookbacks
from fms_hub.surrogate.foresight import READ, doubted, foresee, weights_columns
from fms_hub.surrogate.inputs import PROBES
from fms_hub.surrogate.kernel import Group
from fms_hub.surrogate.learned import ByStage, has_begun, residual_groups, stages
from tests.taught import CANDIDATES, TASKS, pool
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.ours import Ours
from training.benchmarks.cached.pool import Pool
from training.corpus.splits import read_splits
from training.meta.episodes import episode, final_rows, seen_rows, spend
from training.meta.fitting import Fitted, _widening, fit
from training.meta.prior import Foreseen, fit_doubt, fit_forest
from training.meta.table import NONE, Table, table_of
from training.meta.train import Lesson, Misses, Settings, lean_of, learn, misses, scaling_of, without
from training.meta_train import jobs, main, surrogate_of


@pytest.fixture(scope="module")
def pools() -> list[Pool]:
    return [pool(name, seed) for seed, name in enumerate(TASKS)]


@pytest.fixture(scope="module")
def table(pools: Sequence[Pool]) -> Table:
    return table_of(pools[0])


@pytest.fixture(scope="module")
def fitted(pools: Sequence[Pool]) -> Fitted:
    return fit("three tasks", pools[1:], read_splits(), Settings(steps=100, trees=80))


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


@pytest.fixture(scope="module")
def lesson(table: Table) -> Lesson:
    flat = Foreseen(table, np.full(len(table.scores), 0.3))
    return Lesson.of(flat, scaling_of([table.inputs]), np.full(len(table.scores), 0.2))


@pytest.fixture(scope="module")
def groups(table: Table) -> tuple[Group, ...]:
    return residual_groups({name: getattr(table.inputs, name).shape[1] for name in READ})


def test_groups_of_inputs_can_be_left_out(lesson: Lesson, groups: tuple[Group, ...]) -> None:
    columns = without(lesson.columns, groups, frozenset({"weights"}))
    blocks = torch.split(columns, [group.width + 1 for group in groups], 1)
    found = {group.name: bool(block.any()) for group, block in zip(groups, blocks, strict=True)}
    assert found == {"fidelity": True, "hyperparameters": True, "weights": False, "candidate": True}


def test_the_process_is_told_how_much_of_a_run_is_known(table: Table, lesson: Lesson) -> None:
    assert lesson.columns[table.row[3, 2, 6], 2] == pytest.approx(2 / 6)
    assert lesson.columns[table.row[3, 0, 6], 2] == 0.0


def test_it_repeats_from_its_seed_and_leaves_the_generator_alone(
    lesson: Lesson, groups: tuple[Group, ...], table: Table
) -> None:
    before = torch.get_rng_state()
    first, second, other = (
        learn(groups, [lesson], Settings(10, seed)).parameters_by_name() for seed in (0, 0, 1)
    )
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["covar_module.log_reach"], other["covar_module.log_reach"])
    trees = [fit_forest([table], seed, 3) for seed in (0, 0, 1)]
    assert np.array_equal(trees[0].number, trees[1].number)
    assert not np.array_equal(trees[0].number[:20], trees[2].number[:20])


def test_learning_makes_later_scores_less_surprising(lesson: Lesson, groups: tuple[Group, ...]) -> None:
    told: list[tuple[int, float]] = []
    learn(groups, [lesson], Settings(150), lambda step, loss: told.append((step, loss)))
    assert [step for step, _ in told] == [50, 100, 150]
    assert told[-1][1] < told[0][1] - 0.1


def test_a_forest_foresees_a_task_of_a_group_it_never_saw(pools: Sequence[Pool], table: Table) -> None:
    forest = fit_forest([table_of(one) for one in pools[1:]], 0, 80)
    rows = final_rows(table, np.zeros(len(table.epochs), dtype=np.int64))
    foreseen = foresee(forest, table.inputs.rows(rows))
    assert kendalltau(foreseen, table.scores[rows]).statistic > 0.5
    bare = {n: np.full_like(getattr(table.inputs, n), np.nan) for n in ("weights", "start", "task")}
    foreseen = foresee(forest, table.inputs.showing(bare).rows(rows))
    assert kendalltau(foreseen, table.scores[rows]).statistic > 0.4


def test_one_of_the_two_sums_goes_without_weights(table: Table) -> None:
    forest = fit_forest([table], 0, 15)
    weights = np.flatnonzero(weights_columns(table.inputs))
    ends = [*forest.roots[1:], len(forest.feature)]
    asked = [np.isin(forest.feature[a:b], weights).any() for a, b in zip(forest.roots, ends, strict=True)]
    assert len(asked) == 30
    assert sum(asked[:15]) > 5 and not any(asked[15:])


def test_doubt_is_larger_where_trees_were_further_off(table: Table) -> None:
    inputs = table.inputs
    early = np.isnan(inputs.curve[:, 0])
    noise = np.random.default_rng(0).normal(size=len(table.scores)) * np.where(early, 0.2, 0.02)
    foreseen = Foreseen(table, table.scores - noise)
    deviation = doubted(fit_doubt([foreseen], 0), inputs, foreseen.mean)
    assert np.median(deviation[early]) == pytest.approx(0.2, rel=0.35)
    assert np.median(deviation[~early]) == pytest.approx(0.02, rel=0.35)


def test_widening_lets_groups_count_alike_and_stages_of_runs_by_themselves() -> None:
    near, far = np.linspace(-1.0, 1.0, 1000), np.linspace(0.0, 10.0, 10)
    off, stage = np.concatenate([near, 5.0 * near, 3.0 * near]), np.repeat([0, 1, 3], 1000)
    found = _widening([Misses(off, stage), Misses(far, np.zeros(10, dtype=np.int64))])
    inside = [np.mean(np.abs(z) <= 1.645 * found.fresh) for z in (near, far)]
    assert inside == pytest.approx([1.0, 0.8], abs=0.11)
    assert (found.early, found.late) == pytest.approx((4.5 / 1.645, 2.7 / 1.645), rel=0.01)
    assert found.middle == 1.0  # nothing is known of those


def test_narrow_intervals_are_widened_and_wide_ones_narrowed_until_they_hold_as_much_as_they_say() -> None:
    rng = np.random.default_rng(0)
    stage = rng.integers(0, 4, 40_000)
    found = _widening([Misses(rng.normal(size=40_000) * np.array([0.5, 2.0, 1.0, 0.7])[stage], stage)])
    assert found.numbers == pytest.approx((0.5, 2.0, 1.0, 0.7), rel=0.03)


def test_the_lean_is_what_standings_explain_of_residuals_tasks_counting_alike(lesson: Lesson) -> None:
    inputs = lesson.table.inputs
    probes = np.zeros((len(inputs), len(PROBES)))
    stands = np.random.default_rng(0).normal(size=len(inputs))
    probes[:, PROBES.index("standing")] = stands
    probed = replace(lesson, table=replace(lesson.table, inputs=replace(inputs, probes=probes)))

    def leaning(fresh: float, begun: float) -> Lesson:
        return replace(probed, residuals=torch.from_numpy(np.where(has_begun(inputs), begun, fresh) * stands))

    found = lean_of([leaning(0.4, 0.1), leaning(0.2, -0.3)])
    assert found.numbers == pytest.approx((0.3, -0.1, -0.1, -0.1))
    assert leaning(0.4, 0.1).leaning(ByStage.by_start(0.4, 0.1)).residuals.abs().max() < 1e-12
    assert lean_of([lesson]) == ByStage.by_start(0.0, 0.0)  # nobody probed


def test_misses_say_how_much_of_each_run_was_seen(lesson: Lesson, groups: tuple[Group, ...]) -> None:
    found = misses(learn(groups, [lesson], Settings(1)), [lesson])
    assert len(found.off) == len(found.stage)
    assert 0.2 < (found.stage > 0).mean() < 0.8
    assert set(found.stage) <= set(stages(lesson.table.inputs))


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
    assert set(fitted.off) == set(fitted.error) == {"flowers", "faces", "traffic signs"}
    assert all(0.0 < error < 0.5 for error in fitted.error.values())
    assert fitted.surrogate.name == fitted.name == "three tasks"
    assert fitted.learned.lean == ByStage.by_start(0.0, 0.0)  # nobody probed
    assert fitted.learned.hyperparameters[0] == "learning_rate"


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
    by_split = {
        split: [job.name for job in jobs(found, read_splits(), leave_out=True, split=split)]
        for split in ("meta-validation", "meta-test")
    }
    assert sorted(by_split["meta-validation"] + by_split["meta-test"]) == sorted(job.name for job in made)
    assert "without-flowers" in by_split["meta-validation"]
    assert "without-characters" in by_split["meta-test"]
    (everything,) = jobs(found, read_splits(), leave_out=False)
    assert (everything.name, len(everything.pools)) == ("all", 4)


def test_the_question_how_runs_end_is_there_for_every_finished_run(table: Table) -> None:
    reached = np.minimum(np.arange(40) % 7, table.epochs)
    rows = final_rows(table, reached)
    assert len(rows) == len(table.finished)
    assert table.scores[rows].tolist() == [table.scores[table.row[run, 0, 6]] for run in table.finished]


def test_the_surrogate_that_never_saw_a_group_is_found_by_its_name(tmp_path: Path) -> None:
    assert surrogate_of(tmp_path, frozenset({"traffic signs"})) is None
    there = tmp_path / "without-traffic_signs.safetensors"
    there.write_bytes(b"kept")
    assert surrogate_of(tmp_path, frozenset({"traffic signs"})) == there
    assert surrogate_of(None, frozenset({"traffic signs"})) is None


def test_a_stopped_command_goes_on_and_refuses_what_other_runs_made(
    tmp_path: Path,
    write_hub: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub, out = write_hub(tmp_path / "hub", ("smiles", "gtsrb"), 8, "timm-tiny"), tmp_path / "out"
    command = ["meta_train", "--hub", str(hub), "--out", str(out), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", command)
    out.mkdir()
    with FileLock(out / "all.lock"):
        main()  # leaves to another process what that one is at
    assert not (out / "all.safetensors").exists()
    main()
    made = (out / "all.safetensors").read_bytes()
    assert "all.safetensors" in capsys.readouterr().out
    main()
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(sys, "argv", [*command, "--seed", "1"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1 and "made with another seed;" in capsys.readouterr().err
    write_hub(hub, ("flowers5",), 8, "timm-tiny")
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit):
        main()
    assert "made with another corpus;" in capsys.readouterr().err
    assert (out / "all.safetensors").read_bytes() == made


def test_runs_without_weights_are_refused_before_anything_is_trained(
    tmp_path: Path,
    write_hub: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub = write_hub(tmp_path / "hub", ("mnist", "gtsrb"), 8)
    monkeypatch.setattr(sys, "argv", ["meta_train", "--hub", str(hub), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as end:
        main()
    told = capsys.readouterr().err
    assert (
        end.value.code == 1 and "no run of these pools has sketches" in told and "trees without" not in told
    )
