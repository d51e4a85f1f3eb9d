"""Gathers the runs of several folders of shards into few large shards of another, compact if asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from fms_hub.corpus.schema import CandidateRow, EmbeddingRow, ProbeRow, TaskRow
from fms_hub.corpus.shards import Tensors, read_corpus, warn, write_shard
from fms_hub.corpus.sketches import Graphs
from fms_hub.corpus.tables import add_rows, read_table
from fms_hub.weights.graph import WeightGraph
from training.corpus import schema1
from training.corpus.runlog import rows_of

RUNS_PER_SHARD = 300


@dataclass(frozen=True)
class Kept:
    """What is kept of the tensors beside the rows and sketches, all of which are.

    Attributes:
        raw_every: the weights of about one run in this many; which ones follows from their ids; 0 keeps none.
        raw_epochs: only after these epochs and the last; None takes all there are.
        plain: whether plain statistics are kept.
        compact: whether sketches and weights are written in fewer bits.
    """

    raw_every: int = 1
    raw_epochs: frozenset[int] | None = None
    plain: bool = True
    compact: bool = False

    def keeps_raw(self, run: str, epoch: int, last: int) -> bool:
        """Whether a checkpoint's weights are kept."""
        if self.raw_every == 0 or int(run, 16) % self.raw_every:
            return False
        return self.raw_epochs is None or epoch in self.raw_epochs or epoch == last


@dataclass(frozen=True)
class Gathered:
    """A folder's runs, whatever its schema."""

    rows: pd.DataFrame
    graphs: Mapping[str, WeightGraph]
    raw: Tensors
    plain: Tensors


def collect(sources: Sequence[Path], out: Path, kept: Kept, data: Path | None = None) -> int:
    """Copy all runs that ``out`` does not have yet; returns how many.

    Args:
        sources: folders of shards; small-cnn ones may be of schema version 1.
        out: folder of shards, made if absent.
        kept: of tensors.
        data: folder of the dataset files, to describe the tasks of shards of schema version 1.

    Raises:
        Fault: two folders have different rows for one task or candidate; shards of schema version 1 without
            ``data``.
        StorageError: the disk is full; what was written stays.
    """
    done = set(read_corpus(out).rows.run)
    for folder in sources:
        gathered = _gathered(folder, out, data)
        fresh = [run for run in gathered.rows.run.unique() if run not in done]
        for start in range(0, len(fresh), RUNS_PER_SHARD):
            _copy(gathered, fresh[start : start + RUNS_PER_SHARD], kept, out)
        done |= set(fresh)
    return len(set(read_corpus(out).rows.run))


def _gathered(folder: Path, out: Path, data: Path | None) -> Gathered:
    if schema1.is_of_version_1(folder):
        schema1.register(folder, out, data)
        rows, graphs, raw = schema1.read_small_cnn(folder)
        return Gathered(rows, graphs, raw, {})
    corpus = read_corpus(folder)
    warn(corpus)
    add_rows(out, TaskRow, read_table(folder, TaskRow))
    add_rows(out, CandidateRow, read_table(folder, CandidateRow))
    add_rows(out, ProbeRow, read_table(folder, ProbeRow))
    add_rows(out, EmbeddingRow, read_table(folder, EmbeddingRow))
    return Gathered(corpus.rows, corpus.graphs, corpus.tensors("raw"), corpus.tensors("plain"))


def _copy(gathered: Gathered, runs: Sequence[str], kept: Kept, out: Path) -> None:
    chosen = gathered.rows[gathered.rows.run.isin(set(runs))]
    horizon = dict(zip(chosen.run, chosen.horizon, strict=True))
    raw = {
        key: value
        for key, value in gathered.raw.items()
        if (run := key.split("/")[0]) in horizon and kept.keeps_raw(run, int(key.split("/")[1]), horizon[run])
    }
    plain = {key: value for key, value in gathered.plain.items() if key.split("/")[0] in horizon}
    keys = chosen.sketch.dropna()
    graphs = gathered.graphs
    some = graphs.chosen(keys) if isinstance(graphs, Graphs) else {key: graphs[key] for key in keys}
    others = {"raw": raw, "plain": plain if kept.plain else {}}
    write_shard(out, list(rows_of(chosen)), some, others, compact=kept.compact)
