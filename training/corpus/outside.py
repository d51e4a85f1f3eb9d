"""Logs of others in the corpus' schema, weights absent: `python -m training.corpus outside`.

What a source does not say is null; nothing is estimated. Each source is one shard, and its tasks and
candidates stand in the tables with the licence of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fms_hub.corpus.schema import CandidateRow, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from training.corpus.aerial import read_aerial
from training.corpus.algoperf import read_algoperf
from training.corpus.log import Log
from training.corpus.timm_results import read_timm_results

SOURCES: Mapping[str, Callable[[Path], Log]] = {
    "algoperf": read_algoperf,
    "aerial_sweeps": read_aerial,
    "timm_results": read_timm_results,
}
"""What reads each folder of the tables."""


@dataclass(frozen=True)
class Imported:
    """What came of one source; ``left_out`` counts runs by why they are not in the corpus."""

    runs: int
    rows: int
    candidates: int
    left_out: Mapping[str, int]


def import_outside(tables: Path, out: Path) -> dict[str, Imported]:
    """Import every source that is there into a folder of shards; once imported, nothing changes.

    Args:
        tables: folder with the sources' folders.
        out: folder of the shards.

    Raises:
        FileNotFoundError: none of the sources is there, or a file of one is missing.
        Fault: a source has what the schema does not allow; StorageError: the disk is full.
    """
    found = {name: read(tables / name) for name, read in SOURCES.items() if (tables / name).is_dir()}
    if not found:
        raise FileNotFoundError(f"{tables} has none of the folders {', '.join(SOURCES)}.")
    imported = {}
    for name, log in found.items():
        if log.rows:
            write_shard(out, log.rows, {})
        add_rows(out, TaskRow, log.tasks)
        add_rows(out, CandidateRow, log.candidates)
        runs = len({row.run for row in log.rows})
        imported[name] = Imported(runs, len(log.rows), len(log.candidates), log.left_out)
    return imported
