"""Who has seen what before being judged, and the table of it with surrogates that are really fitted."""

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.taught import pool
from training.benchmarks import generalization
from training.benchmarks.cached.judging import JudgedTask
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.regimes import (
    FAMILY,
    MANY,
    NEW_BOTH,
    NEW_FAMILY,
    NEW_TASK,
    ONE,
    SCRATCH,
    Case,
    cases,
    halves,
    largest,
)
from training.benchmarks.generalization import targets
from training.corpus.splits import read_splits
from training.corpus.tasks import dataset

WriteHub = Callable[..., Path]
GROUP = frozenset({"traffic signs"})
RESNETS = "byobnet-nfnet-resnet"


@pytest.fixture(scope="module")
def everything() -> dict[str, Pool]:
    return {name: pool(name, seed, runs=20) for seed, name in enumerate(("flowers5", "gtsrb", "smiles"))}


@pytest.fixture(scope="module")
def found(everything: dict[str, Pool]) -> dict[tuple[str, str], Case]:
    others = {name: one for name, one in everything.items() if name != "gtsrb"}
    task = JudgedTask("gtsrb", everything["gtsrb"], None, others, GROUP)
    return {(case.regime, case.part): case for case in cases([task], everything, read_splits())}


def architectures(pools: Iterable[Pool]) -> set[str]:
    return {one.candidates[run.candidate].architecture for one in pools for run in one.runs}


def tasks(pools: Iterable[Pool]) -> set[str]:
    return {one.task.name for one in pools}


def test_the_first_block_learns_from_many_tasks_from_one_or_from_none(
    found: dict[tuple[str, str], Case], everything: dict[str, Pool]
) -> None:
    assert tasks(found[MANY, "all"].training) == {"flowers5", "smiles"}
    assert tasks(found[ONE, "all"].training) == {"first half", "second half"}
    assert found[SCRATCH, "all"].training == ()
    assert all(found[regime, "all"].task.pool is everything["gtsrb"] for regime in (MANY, ONE, SCRATCH))


def test_the_second_block_judges_the_same_runs_of_one_fold(found: dict[tuple[str, str], Case]) -> None:
    assert {part for regime, part in found if regime == NEW_BOTH} == {RESNETS, "maxxvit-vision_transformer"}
    regimes = (NEW_TASK, NEW_FAMILY, NEW_BOTH)
    judged = {tuple(run.id for run in found[regime, RESNETS].task.pool.runs) for regime in regimes}
    assert len(judged) == 1
    assert architectures([found[NEW_BOTH, RESNETS].task.pool]) == {"test_resnet"}


@pytest.mark.parametrize(
    ("regime", "of_tasks", "of_architectures"),
    [
        (NEW_TASK, {"flowers5", "smiles"}, {"test_resnet", "test_vit"}),
        (NEW_FAMILY, {"flowers5", "gtsrb", "smiles"}, {"test_vit"}),
        (NEW_BOTH, {"flowers5", "smiles"}, {"test_vit"}),
    ],
)
def test_what_is_new_was_not_learned_from(
    found: dict[tuple[str, str], Case], regime: str, of_tasks: set[str], of_architectures: set[str]
) -> None:
    case = found[regime, RESNETS]
    assert case.ranked == FAMILY
    assert tasks(case.training) == of_tasks
    assert architectures(case.training) == of_architectures


def test_folds_with_few_runs_are_not_judged(everything: dict[str, Pool]) -> None:
    few = everything["gtsrb"].only(range(8))
    task = JudgedTask("gtsrb", few, None, {"smiles": everything["smiles"]}, GROUP)
    assert {case.regime for case in cases([task], everything, read_splits())} == {MANY, ONE, SCRATCH}


def test_halves_part_the_runs_of_any_task(everything: dict[str, Pool]) -> None:
    domain = replace(everything["smiles"], task=replace(everything["smiles"].task, name="pacs:art"))
    first, second = halves(domain)
    assert {run.id for run in first.runs} | {run.id for run in second.runs} == {r.id for r in domain.runs}
    assert not {run.id for run in first.runs} & {run.id for run in second.runs}
    assert first.task.group != second.task.group
    assert not {dataset(half.task.name) for half in (first, second)} & read_splits().group.keys()


def test_the_largest_pool_is_the_one_task(everything: dict[str, Pool]) -> None:
    small = everything["flowers5"].only(range(19))
    assert largest({"b": everything["smiles"], "a": small, "c": everything["gtsrb"]}).task.name == "smiles"


def test_targets_are_gaps_on_the_same_tasks() -> None:
    taus = {
        (MANY, 0): {"a": [0.6], "b": [0.4]},
        (ONE, 0): {"a": [0.5], "b": [0.1]},
        (NEW_TASK, 50): {"a": [0.1, 0.3]},
        (NEW_FAMILY, 50): {"a": [0.5, 0.5]},
        (NEW_BOTH, 50): {"a": [0.2, 0.4]},
    }
    made = {target.target: target for target in targets(taus)}
    assert len(made) == 3
    assert made["tau of many minus that of one after 0 epochs"].measured == pytest.approx(0.2)
    assert made["tau of new-task minus that of new-both after 50 epochs"].measured == pytest.approx(-0.1)
    assert not made["tau of new-task minus that of new-both after 50 epochs"].met
    assert made["tau of new-family minus that of new-both after 50 epochs"].met


def test_the_table_of_a_hub_fits_once(
    write_hub: WriteHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = write_hub(tmp_path / "hub", ("gtsrb", "usps", "smiles"), count=12, hub="timm-tiny")
    out = tmp_path / "out"
    arguments = ["--hub", str(hub), "--out", str(out), "--quick", "--json"]
    generalization.main(arguments)
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert "hours" in printed.err
    rows = {(row["method"].split(":")[0], row["at"]): row for row in report["rows"]}
    before = {(regime, "0 epochs") for regime in (MANY, ONE, NEW_TASK, NEW_FAMILY, NEW_BOTH)}
    assert set(rows) == before | {
        (regime, "20 epochs") for regime in (SCRATCH, *(name for name, _ in before))
    }
    assert rows[MANY, "0 epochs"]["n"] == 1 and rows[MANY, "20 epochs"]["n"] == 2
    assert rows[MANY, "20 epochs"]["mean"] > 0.2
    files = {path: path.stat().st_mtime_ns for path in (out / "surrogates").iterdir()}
    forests = len(list((out / "forests").glob("*.safetensors")))
    assert forests > len(files), "each surrogate has a forest of its own, and others that leave groups out"
    assert len(files) == 4  # what has not seen the task learned from all others
    generalization.main(arguments)
    assert capsys.readouterr().out == printed.out
    assert {path: path.stat().st_mtime_ns for path in files} == files
