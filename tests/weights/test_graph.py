"""Weight graphs: pooled vectors, files, torch_geometric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import save_file
from torch import nn

from fms_hub.errors import CheckpointError, StorageError
from fms_hub.weights import storage
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import COLUMNS, STRUCTURAL, WeightGraph
from fms_hub.weights.pooling import POOLED
from fms_hub.weights.structure import KINDS


def _graph(name: str) -> WeightGraph:
    torch.manual_seed(0)
    return describe(timm.create_model(name), (3, 160, 160))


@pytest.fixture(scope="module")
def resnet() -> WeightGraph:
    return _graph("test_resnet")


def test_pooled_has_one_length_for_every_network(resnet: WeightGraph) -> None:
    assert len(set(POOLED)) == len(POOLED) <= 140
    tiny = describe(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), (3, 2, 2))
    normless = describe(nn.Sequential(nn.BatchNorm2d(3)), (3, 2, 2))
    for graph in (resnet, _graph("test_vit"), tiny, normless):
        pooled = graph.pooled()
        assert pooled.shape == (len(POOLED),) and pooled.dtype == np.float64
        assert np.isfinite(pooled).all()


def test_pooled_parts_are_what_their_names_say(resnet: WeightGraph) -> None:
    found = dict(zip(POOLED, resnet.pooled(), strict=True))
    structure, column = resnet.structure, COLUMNS.index("log_gain")
    matrices = [(node, row) for node, row in zip(structure.nodes, resnet.x, strict=True) if node.matrix]
    sizes = np.array([node.parameters for node, _ in matrices])
    gains = np.array([row[column] for _, row in matrices])
    mean = (sizes * gains).sum() / sizes.sum()
    assert found["global_log_parameters"] == pytest.approx(np.log(structure.parameters))
    assert found["global_log_longest_path"] == pytest.approx(np.log1p(30))
    assert found["mean_log_gain"] == pytest.approx(mean)
    assert found["std_log_gain"] == pytest.approx(np.sqrt((sizes * (gains - mean) ** 2).sum() / sizes.sum()))
    late = [row[column] for node, row in matrices if node.depth >= 2 / 3]
    assert found["late_log_gain"] == pytest.approx(np.mean(late))
    assert structure.head is not None
    assert found["head_log_gain"] == pytest.approx(resnet.x[structure.head, column])


def test_pooled_hands_out_copies_and_x_is_read_only(resnet: WeightGraph) -> None:
    resnet.pooled()[:] = 7
    assert not (resnet.pooled() == 7).any()
    with pytest.raises(ValueError, match="read-only"):
        resnet.x[0, 0] = 1


def test_columns_before_the_sketch_describe_the_node(resnet: WeightGraph) -> None:
    assert resnet.x.shape == (len(resnet.structure.nodes), len(STRUCTURAL) + len(FEATURES))
    row = dict(zip(COLUMNS, resnet.x[2].tolist(), strict=True))
    assert [row[f"kind_{kind}"] for kind in KINDS] == [float(kind == "norm") for kind in KINDS]
    assert (row["has_bias"], row["has_running"]) == (1.0, 1.0)
    assert row["log_fan_out"] == pytest.approx(np.log(17)) and row["log_parameters"] == pytest.approx(
        np.log(33)
    )


def test_a_graph_needs_one_row_per_node(resnet: WeightGraph) -> None:
    with pytest.raises(ValueError, match="expected node features of shape"):
        WeightGraph(resnet.structure, resnet.x[:-1].copy())


def test_a_file_gives_back_the_same_graph(resnet: WeightGraph, tmp_path: Path) -> None:
    resnet.save(tmp_path / "graph.safetensors")
    loaded = WeightGraph.load(tmp_path / "graph.safetensors")
    assert loaded.structure == resnet.structure
    assert loaded.x.dtype == resnet.x.dtype and np.array_equal(loaded.x, resnet.x)
    assert np.array_equal(loaded.pooled(), resnet.pooled())
    assert [path.name for path in tmp_path.iterdir()] == ["graph.safetensors"]


def test_half_files_are_half_as_precise(resnet: WeightGraph, tmp_path: Path) -> None:
    resnet.save(tmp_path / "full")
    resnet.save(tmp_path / "half", half=True)
    loaded = WeightGraph.load(tmp_path / "half")
    assert loaded.x.dtype == np.float32
    np.testing.assert_allclose(loaded.x, resnet.x, rtol=2e-3, atol=1e-4)
    saved = (tmp_path / "full").stat().st_size - (tmp_path / "half").stat().st_size
    assert saved >= 2 * len(resnet.structure.nodes) * len(FEATURES) - 64


def test_files_that_cannot_be_written_leave_nothing(resnet: WeightGraph, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="taken"):
        resnet.save(tmp_path / "taken")
    with pytest.raises(StorageError, match="nowhere"):
        resnet.save(tmp_path / "nowhere" / "graph")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def _write(path: Path, graph: WeightGraph, **changes: object) -> Path:
    table = np.ascontiguousarray(graph.sketch)
    content = {"tensors": {"sketch": table}, "format_version": "2", "sketch_version": "2", **changes}
    tensors = content.pop("tensors")
    metadata = {"structure": storage.pack(graph.structure)} | {
        k: str(v) for k, v in content.items() if v is not None
    }
    save_file(tensors, path, metadata)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": "1"}, "expected format_version 2"),
        ({"sketch_version": "0"}, "expected sketch_version 2"),
        ({"format_version": None}, "expected a weight graph"),
        ({"surplus": "1"}, "expected a weight graph"),
        ({"structure": "{}"}, "featurize the model again"),
        ({"structure": "c-pn6"}, "featurize the model again"),
        ({"tensors": {"x": np.zeros((2, 2), np.float32)}}, "expected a weight graph"),
        ({"tensors": {"sketch": np.zeros((2, 2), np.float32)}}, "expected floats of shape"),
        ({"tensors": {"sketch": np.zeros((37, len(FEATURES)), np.int32)}}, "expected floats of shape"),
        (
            {"tensors": {"sketch": np.full((37, len(FEATURES)), np.nan, np.float32)}},
            "expected finite features",
        ),
    ],
)
def test_other_files_are_refused(
    resnet: WeightGraph, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(CheckpointError, match=message):
        WeightGraph.load(_write(tmp_path / "graph", resnet, **changes))


def test_damaged_and_missing_files_are_refused(resnet: WeightGraph, tmp_path: Path) -> None:
    path = _write(tmp_path / "graph", resnet)
    assert np.array_equal(WeightGraph.load(path).x, resnet.x)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CheckpointError, match="cannot read"):
        WeightGraph.load(path)
    with pytest.raises(CheckpointError, match="cannot read"):
        WeightGraph.load(tmp_path / "absent")


def test_data_for_torch_geometric(resnet: WeightGraph) -> None:
    data = resnet.to_data()
    assert data.validate()
    assert data.x.shape == resnet.x.shape and data.x.dtype == torch.float32
    assert [tuple(edge) for edge in data.edge_index.T.tolist()] == list(resnet.structure.edges)
    assert data.edge_type.tolist() == [0] * len(resnet.structure.edges)
