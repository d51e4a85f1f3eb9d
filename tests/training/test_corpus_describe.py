"""`describe` counts what is there and names what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from fms_hub.corpus.schema import CandidateRow, Fault, ProbeRow, Row, TaskRow, to_table
from fms_hub.corpus.shards import read_corpus, read_graphs, read_shards, write_shard
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.weights.describe import describe as describe_weights
from training.corpus.collect import Kept, collect
from training.corpus.describe import describe, write_picture
from training.corpus.holdings import Holdings, beats_linear_probe, folders, noise, runs_of
from training.corpus.small_net import PIXELS, SmallCNN
from training.corpus.targets import missing

SOURCES = ("gtsrb", "cifar10", "fashion_mini")
KEYS = {
    "runs", "observations", "tasks", "architectures", "checkpoints", "status", "repeated", "noise",
    "beats_linear_probe", "megabytes", "missing",
}  # fmt: skip


def rows_of_run(run: str, final: float | None, horizon: int = 2, **changes: object) -> list[Row]:
    """A run whose score rises evenly, or that fails at its last epoch."""
    rows = [
        Row(
            run, "timm-tiny", "usps", "source/x", "{}", epoch, horizon, 0, 1.0,
            (final or 0.5) * epoch / horizon, None, None, "cpu", "ok", None, None,
        )
        for epoch in range(1, horizon + 1)
    ]  # fmt: skip
    last = replace(rows[-1], test_score=final)
    if final is None:
        last = replace(last, status="failed", reason="diverged", validation_score=None, train_loss=None)
    return [replace(row, **changes) for row in [*rows[:-1], last]]  # type: ignore[arg-type]


def runs(*finals: Sequence[Row]) -> pd.DataFrame:
    frame = to_table([row for rows in finals for row in rows], Row).to_pandas()
    return runs_of(frame)


def test_noise_by_hand() -> None:
    configurations = [(0.5, 0.7), (0.4, 0.4), (0.3, 0.2), (0.9, 0.8), (0.1, 0.3)]
    table = runs(
        *(
            rows_of_run(f"{i}{seed}", final, hyperparameters=json.dumps({"a": i}), seed=seed)
            for i, pair in enumerate(configurations)
            for seed, final in enumerate(pair)
        ),
        rows_of_run("alone", 0.6, hyperparameters='{"a": 9}'),
    )
    found = noise(table)
    assert found.repeated == pytest.approx(5 / 6)
    variances = [0.02, 0.0, 0.005, 0.005, 0.02]
    assert found.deviation == pytest.approx((sum(variances) / 5) ** 0.5)
    # Of 10 pairs (0.3, 0.2) and (0.1, 0.3) are in another order in the second seed: 9 agree, 1 does not.
    assert found.tau == pytest.approx(0.8)


def test_there_is_no_noise_without_repeats() -> None:
    found = noise(runs(rows_of_run("a", 0.5), rows_of_run("b", 0.5, hyperparameters='{"x": 1}')))
    assert (found.repeated, found.deviation, found.tau) == (0.0, None, None)


def test_a_failed_run_does_not_beat_a_probe_and_one_without_a_probe_does_not_count() -> None:
    table = runs(
        rows_of_run("a", 0.8),
        rows_of_run("b", 0.4),
        rows_of_run("c", None),
        rows_of_run("d", 0.9, task="new"),
    )
    probes = {("usps", "source/x"): ProbeRow("usps", "source/x", 0.9, 0.5, 1.0, 10)}
    assert beats_linear_probe(table, probes) == pytest.approx(1 / 3)
    assert beats_linear_probe(table, {}) is None


def tiny(tasks: int, candidates: int, configurations: int, repeats: int) -> list[list[Row]]:
    """Runs of twelve epochs of all cells, the first configurations of each task with two more seeds."""
    rows = []
    for task in range(tasks):
        for candidate in range(candidates):
            for i in range(configurations):
                number = candidate * configurations + i
                for seed in range(3 if number < repeats else 1):
                    rows.append(
                        rows_of_run(
                            f"{task}-{candidate}-{i}-{seed}",
                            0.9 - 0.01 * number,
                            horizon=12 + 4 * (i % 2),
                            task=f"usps:{task}",
                            candidate=f"source/{candidate}",
                            hyperparameters=json.dumps({"i": i}),
                            seed=seed,
                        )
                    )
    return rows


def holdings(rows: Sequence[Sequence[Row]], **changes: object) -> Holdings:
    table = runs(*rows)
    table["sketched"] = [frozenset({1, 4, horizon}) for horizon in table.horizon]
    names = sorted(table.candidate.unique())
    full = Holdings(
        runs=table,
        observations=sum(map(len, rows)),
        tasks=[
            TaskRow("timm-tiny", name, "characters", 10, None, 1, 1, 1, 32, "accuracy", "", None, "", "")
            for name in table.task.unique()
        ],
        candidates={
            name: CandidateRow(name, f"a{i % 12}", f"f{i % 8}", SOURCES[i % 3], 1, 0.5, 10, "MIT", False)
            for i, name in enumerate(names)
        },
        probes={(t, c): ProbeRow(t, c, 0.1, 0.1, 1.0, 9) for t in table.task.unique() for c in names},
        raw={},
        refused=(),
        size=10**7,
    )  # fmt: skip
    return replace(full, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole() -> Holdings:
    return holdings(tiny(tasks=10, candidates=40, configurations=6, repeats=12))


def of_tiny(found: Holdings) -> list[str]:
    return [line for line in missing(found) if "small-cnn" not in line]


def test_nothing_is_missing_where_every_target_is_met(whole: Holdings) -> None:
    assert of_tiny(whole) == []


def without(found: Holdings, **changes: object) -> Holdings:
    return replace(found, **changes)  # type: ignore[arg-type]


def test_each_target_that_is_not_met_is_named(whole: Holdings) -> None:
    table = whole.runs

    def lacking(**changes: object) -> str:
        (line,) = of_tiny(without(whole, **changes))
        return line

    some = table[table.candidate.isin(sorted(whole.candidates)[:30])]
    assert "timm-tiny: checkpoints: 30 of 40" in of_tiny(without(whole, runs=some))
    assert lacking(size=50 * 10**6) == "size: 50.0 MB, at most 40 wanted"
    assert lacking(probes={}) == "timm-tiny: linear probes to compare with"
    probes = {key: replace(row, test_score=1.0) for key, row in whole.probes.items()}
    assert lacking(probes=probes).startswith("timm-tiny: 0% of the runs beat a linear probe")
    one = table.assign(horizon=12, sketched=[frozenset({1, 4, 12})] * len(table))
    assert lacking(runs=one) == "timm-tiny: horizons: 1 of 2"
    few = table.assign(sketched=[frozenset({1, horizon}) for horizon in table.horizon])
    assert lacking(runs=few).startswith("timm-tiny: sketches at 1, 4 and last of 2640 runs")
    assert lacking(tasks=whole.tasks[1:]) == "timm-tiny: rows of tasks for usps:0"
    alike = {name: replace(row, family="f0") for name, row in whole.candidates.items()}
    assert lacking(candidates=alike) == "timm-tiny: families: 1 of 8"
    alike = {name: replace(row, architecture="a") for name, row in whole.candidates.items()}
    assert lacking(candidates=alike) == "timm-tiny: architectures: 1 of 12"
    alike = {name: replace(row, source="random") for name, row in whole.candidates.items()}
    assert lacking(candidates=alike) == "timm-tiny: pretraining sources: 0 of 3"
    saw = {**whole.candidates, "source/0": replace(whole.candidates["source/0"], source="usps")}
    assert "source/0 on usps:0" in lacking(candidates=saw)
    assert lacking(tasks=[*whole.tasks[1:], replace(whole.tasks[0], image_size=28)]) == (
        "timm-tiny: images of 32 pixels for usps:0"
    )
    several = table[(table.seed < 2) | (table.task != "usps:3")]
    assert lacking(runs=several) == "timm-tiny: 3 seeds of 3 of the best 3 configurations of usps:3"


def test_cells_and_repeats_are_counted() -> None:
    thin = holdings(tiny(tasks=10, candidates=80, configurations=3, repeats=12))
    assert of_tiny(thin) == ["timm-tiny: 0% of the cells have 6 configurations, 50% wanted"]
    alone = holdings(tiny(tasks=10, candidates=40, configurations=6, repeats=3))
    assert of_tiny(alone) == ["timm-tiny: 1.2% of the configurations repeated with another seed, 5% wanted"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hubs on the disk, one shard of one of them refused."""
    root = tmp_path_factory.mktemp("corpus")
    graph = describe_weights(SmallCNN(10), (1, PIXELS, PIXELS))
    rows = [replace(row, sketch=f"{row.run}/{row.epoch}") for row in rows_of_run("a" * 16, 0.5)]
    raw = {f"{'a' * 16}/{epoch}/head": np.ones(2, np.float16) for epoch in (1, 2)}
    write_shard(root / "timm-tiny", rows, {row.sketch or "": graph for row in rows}, {"raw": raw})
    write_shard(root / "timm-tiny", rows_of_run("b" * 16, None), {})
    write_shard(root / "small-cnn", rows_of_run("c" * 16, 0.25, hub="small-cnn"), {})
    gone = write_shard(root / "small-cnn", rows_of_run("d" * 16, 0.25, hub="small-cnn"), {})
    gone.unlink()
    return root


def test_the_json_has_exactly_the_keys_that_were_agreed_on(corpus: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training.corpus", "describe", str(corpus), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert set(found) == KEYS
    assert found["runs"] == {"small-cnn": 1, "timm-tiny": 2}
    assert found["tasks"] == {"small-cnn": 1, "timm-tiny": 1}
    assert found["observations"] == 6
    assert found["status"] == {"ok": 2, "failed": 1}
    assert found["checkpoints"] == 1
    assert found["beats_linear_probe"] is None
    assert found["noise"]["timm-tiny"] == {"deviation": None, "tau": None}
    assert any(line.startswith("shard-") and "is refused" in line for line in found["missing"])
    assert "timm-tiny: runs of 12 epochs or more: 0 of 2,400" in found["missing"]


def test_tables_and_a_picture_say_the_same(corpus: Path, tmp_path: Path) -> None:
    found = describe(corpus)
    text = found.as_text()
    assert "| timm-tiny | 2 | 50.0% | 1 | 1 | 0.0% |  |  |" in text
    assert "| small-cnn | usps | 1 | 0.250 | 0.250 |  |" in text
    assert "- timm-tiny: tasks: 0 of 10" in text
    probe = ProbeRow("usps", "source/x", 0.75, 0.75, 1.0, 9)
    write_picture(replace(found.holdings, probes={("usps", "source/x"): probe}), tmp_path / "scores.svg")
    drawn = ElementTree.parse(tmp_path / "scores.svg").getroot()
    labels = [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert {"small-cnn usps (1)", "timm-tiny usps (1)"} <= set(labels)
    red = [line for line in drawn.iter() if line.get("stroke") == "#c22"]
    assert [float(line.get("x1", "0")) for line in red] == [240 + 0.75 * 600]


def test_an_empty_corpus_lacks_everything(tmp_path: Path) -> None:
    assert folders(tmp_path) == []
    found = describe(tmp_path)
    assert json.loads(found.as_json())["runs"] == {}
    assert len(found.missing) >= 12
    assert "missing:" in found.as_text()


def test_folders_are_collected_into_few_shards(corpus: Path, tmp_path: Path) -> None:
    add_rows(corpus / "timm-tiny", CandidateRow, [CandidateRow("x", "a", "f", "s", 1, 0.5, 1, "MIT", False)])
    kept = Kept(raw_every=1, raw_epochs=frozenset())
    sources = [corpus / "timm-tiny", corpus / "small-cnn"]
    assert collect(sources, tmp_path, kept) == 3
    assert collect(sources, tmp_path, kept) == 3
    whole = read_corpus(tmp_path)
    assert (len(whole.shards), whole.refused) == (2, ())
    first = read_shards(corpus / "timm-tiny")
    pd.testing.assert_frame_equal(whole.rows[: len(first)], first)
    assert list(whole.tensors("raw")) == [f"{'a' * 16}/2/head"]
    graphs = read_graphs(corpus / "timm-tiny")
    assert whole.graphs.keys() == graphs.keys()
    assert all(np.array_equal(whole.graphs[key].x, graphs[key].x) for key in graphs)
    assert [row.name for row in read_table(tmp_path, CandidateRow)] == ["x"]


def test_shards_of_schema_1_need_the_datasets(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text('{"schema_version": 1, "rows": 1, "files": {}}\n')
    with pytest.raises(Fault, match="--data"):
        collect([tmp_path], tmp_path / "out", Kept())
