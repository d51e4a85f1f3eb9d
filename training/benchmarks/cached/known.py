"""What a corpus has written of its tasks and candidates besides runs: embeddings, metadata, probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fms_hub.corpus.schema import CandidateRow, EmbeddingRow, ProbeRow, TaskRow
from fms_hub.corpus.tables import read_table
from fms_hub.models import bundle
from fms_hub.records import Probe
from fms_hub.search.known import Known, metadata_vector, probe_vector
from fms_hub.tasks.embedding import EMBEDDING
from training.corpus.candidates import SOURCES_ROOT


@dataclass(frozen=True)
class Written:
    """The small tables of a corpus folder.

    Attributes:
        embeddings: by task.
        probes: by task and candidate.
        classes: that checkpoints of this project were pretrained on, by candidate.
    """

    embeddings: Mapping[str, EmbeddingRow]
    probes: Mapping[tuple[str, str], ProbeRow]
    classes: Mapping[str, int]

    @classmethod
    def read(cls, folder: Path) -> Written:
        """Those of a folder."""
        ours = bundle.entries(bundle.ROOT, SOURCES_ROOT)
        classes = {name: entry.classes for name, entry in ours.items() if entry.epochs}
        return cls(
            {row.task: row for row in read_table(folder, EmbeddingRow)},
            {(row.task, row.candidate): row for row in read_table(folder, ProbeRow)},
            classes,
        )

    def known(self, task: TaskRow, candidates: Mapping[str, CandidateRow]) -> Known:
        """What a search on the task would know."""
        row = self.embeddings.get(task.name)
        return Known(
            None if row is None else np.array([row.embedding[name] for name in EMBEDDING]),
            {name: self._metadata(candidate) for name, candidate in candidates.items()},
            {
                candidate: _probes(probe, task.classes)
                for (name, candidate), probe in self.probes.items()
                if name == task.name and probe.linear is not None
            },
        )

    def _metadata(self, row: CandidateRow) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        pretrained = row.source != "random" and row.epochs != 0
        classes = self.classes.get(row.name)
        return metadata_vector(row.parameters, pretrained=pretrained, classes=classes, accuracy=row.accuracy)


def _probes(row: ProbeRow, classes: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert row.logme is not None and row.h_score is not None and row.knn is not None
    assert row.linear is not None
    seen = Probe(row.candidate, row.logme, row.h_score, row.knn, row.linear, images=1)
    return probe_vector(seen, classes)
