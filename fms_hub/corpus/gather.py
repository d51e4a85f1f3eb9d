"""A search's folder, redacted, as a small corpus of its own: what a contribution consists of."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from safetensors import SafetensorError, safe_open

from fms_hub.corpus import grammar
from fms_hub.corpus.card import write_card
from fms_hub.corpus.faults import check_runs
from fms_hub.corpus.manifest import LOCK
from fms_hub.corpus.redaction import Redactor, anonymous
from fms_hub.corpus.schema import CandidateRow, Fault, Row, TaskRow, to_table
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.sketches import Graphs
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import CheckpointError, UsageError
from fms_hub.hub.logbook import read_history
from fms_hub.records import Observation
from fms_hub.weights import codec, storage
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.sketch import Sketch
from fms_hub.weights.structure import Structure

SKETCHED: Final = (1, 4)
"""Epochs whose sketches are given, besides each run's last one: those that the corpus has of its own runs."""
_SKETCH: Final = re.compile(r"sketches/r\d+-e\d+\.safetensors")
_RESULT: Final = "selection.json"
_TEXT: Final = """
A contribution to a corpus of fine-tuning runs, written by `fms-hub contribute`: the epochs of one search with
coarse numbers of its task and packed sketches of its checkpoints. It holds no images, no class names and no
weights; names that are not public are hashes.
"""


@dataclass(frozen=True)
class Given:
    """What is given of a search.

    Attributes:
        rows: one an epoch.
        task: its row.
        candidates: rows of all candidates that were trained.
        graphs: sketches by ``RUN/EPOCH``.
        hidden: candidates whose names became hashes.
        forks: runs that are left out, as they went on from another one's checkpoint: the corpus has runs that
            keep one configuration.
    """

    rows: Sequence[Row]
    task: TaskRow
    candidates: Sequence[CandidateRow]
    graphs: Graphs
    hidden: int
    forks: int

    @property
    def runs(self) -> int:
        """Number of runs."""
        return len({row.run for row in self.rows})


def gather(folder: Path, redactor: Redactor, *, sketches: bool) -> Given:
    """Read a search's folder and say of it what may be said.

    Args:
        folder: of a search.
        redactor: of the same search.
        sketches: whether sketches are given.

    Raises:
        OutputError, CheckpointError: the folder is not a search's, or damaged.
        UsageError: nothing has been trained in it.
    """
    everything = read_history(folder)
    history = [observation for observation in everything if observation.parent is None]
    if not history:
        raise UsageError(f"{folder} has no epoch in its log yet; contribute it when the search has run.")
    paths = _sketch_paths(folder, history) if sketches else {}
    tests = _test_scores(folder)
    rows = [
        redactor.row(o, test_score=tests.get((o.run, o.epoch)), sketched=(o.run, o.epoch) in paths)
        for o in history
    ]
    keys = {(o.run, o.epoch): row.sketch for o, row in zip(history, rows, strict=True) if row.sketch}
    reader = _Reader()
    graphs = Graphs.of({key: reader.read(paths[place]) for place, key in keys.items() if key})
    candidates = redactor.candidate_rows(o.candidate for o in history)
    hidden = sum(row.name.startswith("private-") for row in candidates)
    forks = len({o.run for o in everything if o.parent is not None})
    return Given(rows, redactor.task_row(), candidates, graphs, hidden, forks)


def check(given: Given) -> None:
    """Hold what is given against the allow-list once more, before it is written.

    Raises:
        UsageError: the search has something that a contribution cannot say.
    """
    try:
        grammar.check_rows(check_runs(to_table(given.rows, Row)))
        grammar.check_task(given.task)
        for row in given.candidates:
            grammar.check_candidate(row)
    except Fault as fault:
        raise UsageError(f"this search cannot be contributed: {fault}.") from fault


def write(given: Given, folder: Path) -> None:
    """Write what is given as a folder of shards with a card; the same content gives the same files.

    Raises:
        StorageError: the disk is full.
    """
    add_rows(folder, TaskRow, [given.task])
    add_rows(folder, CandidateRow, given.candidates)
    write_shard(folder, given.rows, given.graphs)
    write_card(folder, _TEXT, grammar.LICENCE)
    (folder / LOCK).unlink(missing_ok=True)


class _Reader:
    """Reads sketches; a header that many files have is unpacked and made anonymous once."""

    def __init__(self) -> None:
        self._structures: dict[str, Structure] = {}

    def read(self, path: Path) -> tuple[Structure, bytes]:
        """The structure and the sketch as `codec.pack` writes it.

        Raises:
            CheckpointError: absent, damaged, or of another sketch version.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                header, sketch = json.dumps(file.metadata(), sort_keys=True), file.get_tensor("sketch")
            known = self._structures.get(header)
            if known is None or not _fits(known, sketch):
                known, sketch = storage.read(path)
                known = self._structures[header] = anonymous(known)
        except (CheckpointError, SafetensorError, OSError) as error:
            raise CheckpointError(f"{path.name}: {error} Or contribute without sketches.") from error
        return known, codec.pack(sketch)


def _fits(structure: Structure, sketch: Sketch) -> bool:
    return sketch.shape == (len(structure.nodes), len(FEATURES)) and bool(np.isfinite(sketch).all())


def _sketch_paths(folder: Path, history: Sequence[Observation]) -> dict[tuple[int, int], Path]:
    last = {o.run: o.epoch for o in history if o.status == "ok"}
    chosen = {
        (o.run, o.epoch): o.sketch
        for o in history
        if o.sketch is not None and o.status == "ok" and (o.epoch in SKETCHED or o.epoch == last[o.run])
    }
    for name in chosen.values():
        if not _SKETCH.fullmatch(name):
            raise CheckpointError(f"the log of {folder} names {name!r}, which is no sketch of its own.")
    return {key: folder / name for key, name in chosen.items()}


def _test_scores(folder: Path) -> dict[tuple[int, int], float]:
    """The winner's test score, by run and epoch, where the search has come to its end."""
    path = folder / _RESULT
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {(int(found["run"]), int(found["epochs"])): float(found["test_score"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged ({error}). Run the search's command again.") from error
