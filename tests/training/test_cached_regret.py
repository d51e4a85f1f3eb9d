"""The regret benchmark from the command line, its folds, its store and its log."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from fms_hub.corpus.schema import ProbeRow
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import UsageError
from training.benchmarks import regret
from training.benchmarks.cached.costs import StepTimes, epoch_seconds
from training.benchmarks.cached.folds import DEVELOPMENT, folds
from training.benchmarks.cached.methods import METHODS, Method
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.regrets import Table, picture, targets
from training.benchmarks.cached.report import Report, TableRow, Target, append_log
from training.benchmarks.cached.scoring import Curves
from training.benchmarks.cached.searches import SHARE, Contest, Job, contest, expected_seconds, part
from training.corpus.splits import read_splits

MakePool = Callable[..., Pool]
WriteHub = Callable[..., Path]
TASKS = ("cifar10", "gtsrb", "mnist")
TIMES = StepTimes("by hand", {"SmallCNN": (0.1, 0.2)})


@pytest.fixture
def hub(write_hub: WriteHub, tmp_path: Path) -> Path:
    return write_hub(tmp_path / "hub", TASKS)


def test_the_table_as_json(hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    probes = [ProbeRow(task, "small-cnn", 0.5, 0.5, 0.1, 16, logme=-0.4) for task in TASKS]
    add_rows(hub, ProbeRow, probes)
    arguments = ["--hub", str(hub), "--out", str(out), "--seeds", "2", "--budget", "24", "--json"]
    arguments += ["--methods", "random,random-halving,portfolio,logme-first"]
    regret.main(arguments)
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert list(report) == ["benchmark", "setting", "rows", "targets"]
    assert "hours" in printed.err
    assert "logme-first is left out: there is one candidate only" in printed.err
    assert all(
        set(row) == {"method", "hub", "at", "metric", "mean", "low", "high", "n"} for row in report["rows"]
    )
    regrets = [row for row in report["rows"] if row["metric"] == "regret"]
    points = ["6 epochs", "12 epochs", "18 epochs", "24 epochs"]
    assert [row["at"] for row in regrets[:4]] == points
    assert {row["at"] for row in regrets} == {*points, *(f"{s}% of the seconds" for s in (25, 50, 75, 100))}
    assert {row["n"] for row in regrets} == {4}  # meta-validation: cifar10 and gtsrb, two seeds each
    assert all(row["low"] <= row["mean"] <= row["high"] for row in report["rows"])
    assert [target["measured"] for target in report["targets"]] == [None, None]
    assert "snaps" in regrets[8]["method"]


def test_searches_are_stored_and_read_back(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "--hub",
        str(hub),
        "--out",
        str(tmp_path / "out"),
        "--seeds",
        "1",
        "--methods",
        "dyhpo,random",
    ]
    quick = [*arguments, "--quick", "--json"]
    regret.main(quick)
    first = capsys.readouterr()
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.json")}
    assert len(files) == 8
    regret.main(quick)
    second = capsys.readouterr()
    assert second.out == first.out
    assert "about 0.00 hours" in second.err
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_each_seed_searches_another_part_of_the_pool(make_pool: MakePool) -> None:
    pool = make_pool()
    ids = [[run.id for run in part(pool, seed).runs] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == round(SHARE * len(pool.runs)) < len(pool.runs)
    everything = [run.id for run in pool.runs]
    assert ids[0] == [name for name in everything if name in ids[0]]
    assert len(part(pool.only([0]), 0).runs) == 1


def test_a_search_is_scored_by_the_part_that_it_had(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(10)
    everything = contest(
        [Job("t", pool, {}, {})], [METHODS["random"]], range(6), 200, TIMES, tmp_path, quick=False
    ).run()
    assert [curves.regret[-1] for curves in everything.values()] == [0.0] * 6
    assert len({tuple(curves.regret) for curves in everything.values()}) > 1


def test_another_pool_or_budget_is_searched_again(make_pool: MakePool, tmp_path: Path) -> None:
    def prepared(pool: Pool, budget: int = 12) -> Contest:
        return contest(
            [Job("t", pool, {}, {})], [METHODS["random"]], [0], budget, TIMES, tmp_path, quick=False
        )

    pool = make_pool(10)
    prepared(pool).run()
    assert expected_seconds(prepared(pool)) == 0
    assert expected_seconds(prepared(pool, budget=13)) > 0
    assert expected_seconds(prepared(pool.only(range(9)))) > 0


def test_meta_test_is_written_into_the_log(
    hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "LOG.md"
    log.write_text("# Log\n\nBefore.\n")
    arguments = ["--hub", str(hub), "--out", str(tmp_path / "out"), "--seeds", "1", "--budget", "12"]
    regret.main([*arguments, "--methods", "random,random-hyperband"], log=log)
    assert log.read_text() == "# Log\n\nBefore.\n"
    regret.main([*arguments, "--methods", "random,random-hyperband", "--split", "meta-test"], log=log)
    text = log.read_text()
    assert text.startswith(f"# Log\n\nBefore.\n\n## {date.today()}: regret on meta-test\n")
    assert "mnist" in text
    assert "cifar10" not in text
    assert "--hub hub --out out --seeds 1" in text
    assert str(tmp_path) not in text
    assert "| random: random runs to their ends |" in text
    capsys.readouterr()


def test_a_table_of_several_hubs_shows_them_all() -> None:
    rows = [
        TableRow("m", hub, "6 epochs", "regret", mean, 0.0, 1.0, 3) for hub, mean in (("a", 0.1), ("b", 0.2))
    ]
    shown = Report("regret", "both", rows, []).markdown()
    assert "| regret, a | 6 epochs | n |" in shown and "| m | 0.100 (0.000, 1.000) | 3 |" in shown
    assert "| regret, b | 6 epochs | n |" in shown and "| m | 0.200 (0.000, 1.000) | 3 |" in shown
    assert "| regret | 6 epochs | n |" in Report("regret", "one", rows[:1], []).markdown()
    fewer = TableRow("m", "a", "9 epochs", "regret", 0.3, 0.0, 1.0, 2)
    assert "| m | 0.100 (0.000, 1.000) | 0.300 (0.000, 1.000) | 2 to 3 |" in (
        Report("regret", "one", [rows[0], fewer], []).markdown()
    )


def test_a_log_entry_by_hand(tmp_path: Path) -> None:
    row = TableRow("a", "h", "5 epochs", "regret", 0.5, 0.4, 0.6, 3)
    report = Report("regret", "hub h", [row], [Target("less", 0.5, None, False)])
    path = tmp_path / "LOG.md"
    append_log(report, ["--hub=/home/me/h", "--json"], path, date(2026, 1, 2))
    append_log(report, [], path, date(2026, 1, 3))
    entry = (
        "hub h\n\n| regret | 5 epochs | n |\n| --- | --- | --- |\n| a | 0.500 (0.400, 0.600) | 3 |\n\n"
        "NOT MET: less: not measured, required 0.5\n"
    )
    assert path.read_text() == (
        "## 2026-01-02: regret on meta-test\n\n`python -m training.benchmarks.regret --hub=h --json`\n\n"
        f"{entry}\n"
        f"## 2026-01-03: regret on meta-test\n\n`python -m training.benchmarks.regret`\n\n{entry}"
    )


def test_quick_is_not_for_meta_test_and_methods_are_known(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--quick", "--split", "meta-test"], ["--methods", "magic"]):
        with pytest.raises(SystemExit):
            regret.main(["--hub", str(hub), *arguments])
    assert "unknown methods magic" in capsys.readouterr().err


def test_folds_judge_each_task_once_and_learn_from_no_kin(make_pool: MakePool) -> None:
    tasks = ("cifar10", "gtsrb", "mnist", "usps", "smiles")
    pools = {task: make_pool(9, hub="timm-tiny", task=task) for task in tasks}
    splits = read_splits()
    seen = []
    for split in ("meta-validation", "meta-test"):
        for fold in folds(pools, splits, split):  # type: ignore[arg-type]
            assert bool(fold.groups & DEVELOPMENT) == (split == "meta-validation")
            assert {splits.group[task] for task in fold.judged} == fold.groups
            assert not {splits.group[task] for task in fold.training} & fold.groups
            seen += list(fold.judged)
            if "mnist" in fold.judged:
                # Pretrained on characters: neither judged nor learned from where characters are judged.
                everyone = [
                    r.candidate for p in (*fold.judged.values(), *fold.training.values()) for r in p.runs
                ]
                assert not any("omniglot" in name for name in everyone)
                assert len(fold.judged["mnist"].runs) == 6
                assert set(fold.judged) == {"mnist", "usps"}
    assert sorted(seen) == sorted(tasks)
    with pytest.raises(UsageError, match="none of the tasks mnist is in the split meta-validation"):
        next(folds({"mnist": pools["mnist"]}, splits, "meta-validation"))


def flat(value: float) -> Curves:
    return Curves(*(np.full(4, value) for _ in range(4)))


def test_targets_are_measured_where_our_method_is_there(make_pool: MakePool, tmp_path: Path) -> None:
    names = {"fms": 0.1, "random": 0.4, "dyhpo": 0.25}
    jobs = [Job(task, make_pool(3, task=task), {}, {}) for task in ("cifar10", "gtsrb")]
    methods = [replace(METHODS["random"], name=name) for name in names]
    of = contest(jobs, methods, [0, 1], 4, TIMES, tmp_path, quick=False)
    results = {(n, j.task, s): flat(v) for n, v in names.items() for j in jobs for s in (0, 1)}
    half, never = targets(Table(of, results))
    assert (half.measured, half.met) == (pytest.approx(0.4), True)
    assert (never.measured, never.met) == (0.0, True)
    for seed in (0, 1):
        results["fms", "gtsrb", seed] = flat(0.9)
    half, never = targets(Table(of, results))
    assert (half.measured, half.met) == (pytest.approx(2.0), False)
    assert (never.measured, never.met) == (1.0, False)


def test_a_picture_has_a_line_for_each_method_over_all_tasks_and_on_each(
    make_pool: MakePool, tmp_path: Path
) -> None:
    methods = {f"m{number}": 0.1 * number for number in range(7)}
    jobs = [Job(task, make_pool(3, task=task), {}, {}) for task in ("cifar10", "gtsrb")]
    named = [replace(METHODS["random"], name=name) for name in methods]
    of = contest(jobs, named, [0, 1], 4, TIMES, tmp_path, quick=False)
    table = Table(of, {(n, j.task, s): flat(v) for n, v in methods.items() for j in jobs for s in (0, 1)})
    drawn = ElementTree.fromstring(picture(table))
    space = "{http://www.w3.org/2000/svg}"
    lines = drawn.findall(f"{space}polyline")
    assert len(lines) == 7 * 3
    assert len({line.get("stroke") for line in lines}) == 7
    texts = drawn.findall(f"{space}text")
    keys = [text for text in texts if text.text in methods]
    places = {(text.get("x"), text.get("y")) for text in keys}
    assert len(keys) == len(places) == 7
    assert all(float(str(text.get("x"))) < float(str(drawn.get("width"))) for text in keys)
    assert {text.text for text in texts} >= {"all tasks", "cifar10", "gtsrb"}
    heights = {points.split(",")[1] for line in lines for points in str(line.get("points")).split()}
    assert len(heights) > 1


def test_seconds_are_shares_of_what_the_budget_takes_at_random(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(3)
    of = contest([Job("cifar10", pool, {}, {})], [METHODS["random"]], [0], 4, TIMES, tmp_path, quick=False)
    mean = epoch_seconds(pool, TIMES).mean()
    regrets = np.array([0.8, 0.6, 0.4, 0.2])
    # Twice as fast as runs chosen at random: after half of the seconds all is done.
    curves = Curves(regrets, regrets, regrets, np.array([0.5, 1.0, 1.5, 2.0]) * mean)
    rows = Table(of, {("random", "cifar10", 0): curves}).rows()
    found = {row.at: row.mean for row in rows if row.metric == "regret" and "seconds" in row.at}
    assert found == {
        f"{share}% of the seconds": value for share, value in ((25, 0.6), (50, 0.2), (75, 0.2), (100, 0.2))
    }


def test_every_method_says_what_it_is() -> None:
    assert all(isinstance(m, Method) and m.note and m.seconds > 0 for m in METHODS.values())
    assert {n for n, m in METHODS.items() if m.snaps} >= {"optuna-tpe-halving", "syne-tune-bohb", "portfolio"}
    assert not METHODS["dyhpo"].snaps
