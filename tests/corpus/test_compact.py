"""Shards in fewer bytes: sketches as series, weights in eight bits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from fms_hub.corpus import eightbit
from fms_hub.corpus.schema import Fault, Row
from fms_hub.corpus.shards import read_corpus, write_shard
from fms_hub.weights.describe import describe
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.series import LEVELS
from training.corpus.collect import Kept, collect
from training.corpus.small_net import PIXELS, SmallCNN

EPOCHS = (1, 2, 3)
RUNS = ("aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbb8")


def checkpoints(seed: int) -> list[SmallCNN]:
    """A network that changes a little from epoch to epoch."""
    torch.manual_seed(seed)
    found = []
    for _ in EPOCHS:
        network = SmallCNN(10)
        if found:
            for new, old in zip(network.parameters(), found[-1].parameters(), strict=True):
                new.data = old.data + 0.01 * torch.randn_like(old)
        found.append(network)
    return found


def row(run: str, epoch: int) -> Row:
    test = 0.5 if epoch == EPOCHS[-1] else None
    return Row(
        run,
        "h",
        "t",
        "c",
        "{}",
        epoch,
        EPOCHS[-1],
        0,
        1.0,
        0.5,
        test,
        None,
        "cpu",
        "ok",
        None,
        f"{run}/{epoch}",
    )


@pytest.fixture(scope="module")
def networks() -> Mapping[str, SmallCNN]:
    return {
        f"{run}/{epoch}": network
        for seed, run in enumerate(RUNS)
        for epoch, network in zip(EPOCHS, checkpoints(seed), strict=True)
    }


@pytest.fixture(scope="module")
def graphs(networks: Mapping[str, SmallCNN]) -> Mapping[str, WeightGraph]:
    return {key: describe(network, (1, PIXELS, PIXELS)) for key, network in networks.items()}


@pytest.fixture
def plain(tmp_path: Path, networks: Mapping[str, SmallCNN], graphs: Mapping[str, WeightGraph]) -> Path:
    raw = {
        f"{key}/{name}": value.numpy().astype(np.float16)
        for key, network in networks.items()
        for name, value in network.state_dict().items()
    }
    folder = tmp_path / "plain"
    write_shard(folder, [row(run, epoch) for run in RUNS for epoch in EPOCHS], graphs, {"raw": raw})
    return folder


def test_collected_shards_are_smaller_and_say_about_the_same(
    plain: Path, graphs: Mapping[str, WeightGraph], tmp_path: Path
) -> None:
    assert collect([plain], tmp_path / "compact", Kept(compact=True)) == len(RUNS)
    before, after = read_corpus(plain), read_corpus(tmp_path / "compact")
    assert after.refused == ()
    assert after.rows.equals(before.rows)
    assert set(after.graphs) == set(graphs)
    for key, graph in graphs.items():
        found = after.graphs[key]
        assert found.structure == graph.structure
        off = np.abs(found.sketch - before.graphs[key].sketch)
        assert (off <= np.ptp(graph.sketch, axis=0) / LEVELS + 1e-3).all()
    raw = before.tensors("raw")
    for key, value in after.tensors("raw").items():
        assert value.shape == raw[key].shape
        assert np.abs(value - raw[key]).max() <= np.abs(raw[key]).max() / 254 + 1e-3
    assert after.tensors("raw").keys() == raw.keys()
    sizes = [
        sum(file.stat().st_size for file in folder.glob("shard-*.s*")) for folder in (plain, after.folder)
    ]
    assert sizes[1] < 0.75 * sizes[0]


def test_a_series_is_read_in_any_order_and_in_part(plain: Path, tmp_path: Path) -> None:
    collect([plain], tmp_path / "compact", Kept(compact=True))
    graphs = read_corpus(tmp_path / "compact").graphs
    forwards = {key: graphs[key].sketch for key in sorted(graphs)}
    for key in sorted(graphs, reverse=True):
        assert np.array_equal(graphs[key].sketch, forwards[key])
    last = f"{RUNS[0]}/{EPOCHS[-1]}"
    assert np.array_equal(graphs.chosen([last])[last].sketch, forwards[last])


def test_what_was_collected_can_be_collected_again_as_packed_sketches(plain: Path, tmp_path: Path) -> None:
    collect([plain], tmp_path / "compact", Kept(compact=True))
    collect([tmp_path / "compact"], tmp_path / "again", Kept())
    again, compact = read_corpus(tmp_path / "again"), read_corpus(tmp_path / "compact")
    assert again.refused == ()
    for key in compact.graphs:
        off = np.abs(again.graphs[key].sketch - compact.graphs[key].sketch)
        assert (off <= np.ptp(compact.graphs[key].sketch, axis=0) / 255 + 1e-2).all()


def test_weights_that_are_not_finite_come_back_as_zeros_beside_the_others(tmp_path: Path) -> None:
    value = np.array([[np.inf, -np.inf], [np.nan, -2.0]], np.float16)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(eightbit.pack({"r/1/w": value, "r/1/none": np.zeros((0, 3), np.float16)}))
    found = eightbit.unpack(path)
    assert found["r/1/w"].tolist() == [[0.0, 0.0], [0.0, -2.0]]
    assert found["r/1/none"].shape == (0, 3)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    content = eightbit.pack({"r/1/w": np.ones(9, np.float16)})
    layout = content.replace(b"[9]", b"[8]")
    assert layout != content
    for damaged in (content[:-1], b"x" * 40, layout):
        path.write_bytes(damaged)
        with pytest.raises(Fault, match=r"weights.safetensors is damaged"):
            eightbit.unpack(path)
