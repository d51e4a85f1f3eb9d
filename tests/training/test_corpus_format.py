"""The corpus' format: what is written is read back."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset
from shards import row

from fms_hub.corpus.schema import META_FEATURES, CandidateRow, Fault, ProbeRow, TaskRow, to_table
from fms_hub.corpus.shards import read_corpus, read_graphs, read_shards, write_shard
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.tasks.dataset import digits
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph
from training.corpus.small_net import PIXELS, SmallCNN


def test_rows_graphs_and_tensors_come_back(folder: Path, graph: WeightGraph) -> None:
    corpus = read_corpus(folder)
    assert corpus.refused == ()
    assert corpus.rows.run.tolist() == ["good"] * 2 + ["better"] * 3
    assert corpus.rows.test_score.isna().tolist() == [True, False, True, True, False]
    (key,) = corpus.graphs
    assert key == "good/2"
    assert corpus.graphs[key].structure == graph.structure
    off = np.abs(corpus.graphs[key].sketch - graph.sketch)
    assert (off <= np.ptp(graph.sketch, axis=0) / 500 + 1e-3).all()
    assert corpus.tensors("raw")["good/2/w"].tolist() == [1, 1, 1]


def test_weights_in_another_memory_order_come_back_as_they_were(tmp_path: Path, graph: WeightGraph) -> None:
    turned = np.arange(24, dtype=np.float16).reshape(2, 3, 4).transpose(2, 0, 1)
    rows = [row(run="aaaaaaaaaaaaaaaa", sketch="aaaaaaaaaaaaaaaa/1")]
    write_shard(tmp_path, rows, {"aaaaaaaaaaaaaaaa/1": graph}, {"raw": {"aaaaaaaaaaaaaaaa/1/w": turned}})
    assert np.array_equal(read_corpus(tmp_path).tensors("raw")["aaaaaaaaaaaaaaaa/1/w"], turned)


def test_an_empty_folder_has_the_columns_and_no_rows(tmp_path: Path) -> None:
    assert list(read_shards(tmp_path).columns) == list(row().__dict__)
    assert len(read_shards(tmp_path)) == 0


def test_one_network_has_one_structure(folder: Path, graph: WeightGraph) -> None:
    write_shard(folder, [row(run="more", sketch="more/1")], {"more/1": graph})
    other = describe(SmallCNN(3), (1, PIXELS, PIXELS))
    write_shard(folder, [row(run="other", sketch="other/1")], {"other/1": other})
    assert len(list((folder / "structures").iterdir())) == 2
    assert read_graphs(folder)["other/1"].structure == other.structure


def test_graphs_are_read_without_building_models(folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from fms_hub.corpus.shards import read_graphs\n"
        f"graphs = read_graphs(Path({str(folder)!r}))\n"
        "assert graphs['good/2'].x.shape[0] == 6 and 'timm' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_datasets_opens_the_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = str(tmp_path_factory.mktemp("cache"))
    add_rows(folder, CandidateRow, [candidate()])
    runs = load_dataset(str(folder), split="train", cache_dir=cache)
    assert runs.num_rows == 5
    assert runs["test_score"][:2] == [None, 0.5]
    assert load_dataset(str(folder), "sketches", split="train", cache_dir=cache)["epoch"][:] == [2]
    assert load_dataset(str(folder), "candidates", split="train", cache_dir=cache)["name"][:] == ["x"]


def candidate(**changes: object) -> CandidateRow:
    row = CandidateRow("x", "test_vit", "vision_transformer", "mnist", 1, 0.5, 10, "MIT", False)
    return replace(row, **changes)  # type: ignore[arg-type]


def test_table_rows_are_added_once_and_never_changed(tmp_path: Path) -> None:
    add_rows(tmp_path, CandidateRow, [candidate()])
    add_rows(tmp_path, CandidateRow, [candidate(), candidate(name="y", accuracy=None)])
    assert read_table(tmp_path, CandidateRow) == [candidate(), candidate(name="y", accuracy=None)]
    with pytest.raises(Fault, match=r"candidates.parquet has another x: epochs 1, not 2"):
        add_rows(tmp_path, CandidateRow, [candidate(epochs=2)])
    with pytest.raises(Fault, match="accuracy outside"):
        add_rows(tmp_path, CandidateRow, [candidate(name="z", accuracy=2.0)])
    assert len(read_table(tmp_path, CandidateRow)) == 2


def test_a_table_of_probes_from_before_a_column_reads_as_none_and_grows(tmp_path: Path) -> None:
    old = ProbeRow("usps", "source/x", 0.5, 0.5, 0.1, 96)
    later = ("logme", "h_score", "knn", "leep", "nce")
    pq.write_table(to_table([old], ProbeRow).drop_columns(list(later)), tmp_path / "probes.parquet")
    assert read_table(tmp_path, ProbeRow) == [old]
    new = ProbeRow("usps", "source/y", 0.5, 0.5, 0.1, 96, logme=-0.4, h_score=2.5, knn=0.75, leep=None)
    add_rows(tmp_path, ProbeRow, [old, new])
    assert read_table(tmp_path, ProbeRow) == [old, new]
    with pytest.raises(Fault, match=r"knn outside \[0, 1\]"):
        add_rows(tmp_path, ProbeRow, [replace(new, candidate="z", knn=1.5)])
    pq.write_table(to_table([old], ProbeRow).drop_columns(["features"]), tmp_path / "probes.parquet")
    with pytest.raises(Fault, match="no column 'features'"):
        read_table(tmp_path, ProbeRow)


def test_a_task_keeps_its_meta_features(tmp_path: Path) -> None:
    info = digits().info
    assert set(META_FEATURES) == set(info.features)
    task = TaskRow(
        "h", "digits", "characters", 10, None, 1, 1, 1, 32, "accuracy", info.fingerprint, dict(info.features),
        "", "",
    )  # fmt: skip
    outside = replace(task, hub="outside", fingerprint=None, features=None, train=None)
    add_rows(tmp_path, TaskRow, [task, outside])
    assert read_table(tmp_path, TaskRow) == [task, outside]


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    add_rows(tmp_path, CandidateRow, [candidate(name=f"candidate {i}") for i in range(50)])
    path = tmp_path / "candidates.parquet"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    with pytest.raises(Fault, match=r"candidates\.parquet cannot be used"):
        read_table(tmp_path, CandidateRow)
