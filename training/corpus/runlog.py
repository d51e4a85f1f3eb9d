"""What a run leaves, and the sink that gathers finished runs into shards."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

import numpy as np
import pandas as pd
from torch import Tensor

from fms_hub.corpus.shards import Row, Tensors, read_corpus, write_shard
from fms_hub.weights.graph import WeightGraph
from training.corpus.claims import Claims

SECONDS_PER_SHARD = 180.0
"""A finished run waits about so long for its shard at most."""


@dataclass
class RunLog:
    """What one run leaves, or several.

    Attributes:
        rows: of its epochs.
        graphs: weight graphs by ``RUN/EPOCH``.
        raw: weights by ``RUN/EPOCH/NAME``.
        plain: plain statistics by ``RUN/EPOCH``, see `training.corpus.plain`.
    """

    rows: list[Row] = field(default_factory=list)
    graphs: dict[str, WeightGraph] = field(default_factory=dict)
    raw: Tensors = field(default_factory=dict)
    plain: Tensors = field(default_factory=dict)

    def add(self, other: RunLog) -> None:
        """Append another run's."""
        self.rows += other.rows
        self.graphs |= other.graphs
        self.raw |= other.raw
        self.plain |= other.plain

    def keep(self, key: str, state: Mapping[str, Tensor]) -> None:
        """Keep a checkpoint's weights in half precision; counters are left out."""
        self.raw |= {
            f"{key}/{name}": value.detach().cpu().contiguous().numpy().astype(np.float16)
            for name, value in state.items()
            if value.is_floating_point()
        }

    def write(self, folder: Path) -> Path:
        """As one shard.

        Raises:
            StorageError: as `write_shard`.
        """
        return write_shard(folder, self.rows, self.graphs, {"raw": self.raw, "plain": self.plain})


class Sink:
    """Writes finished runs as shards and gives back their claims.

    What waits is written on leaving, also when the process is asked to end (SIGTERM, Ctrl-C). Meanwhile it
    lies in a journal, so that a process that is killed outright loses the run under way alone; the next
    sink writes what a dead process left.

    Args:
        claims: of the folder that the shards go to.
        runs: most runs of a shard.
        seconds: longest time between two shards.
    """

    def __init__(self, claims: Claims, runs: int, seconds: float = SECONDS_PER_SHARD) -> None:
        self._claims = claims
        self._runs = runs
        self._seconds = seconds
        self._written = time.monotonic()
        self._waiting: list[RunLog] = []

    def add(self, log: RunLog) -> None:
        """Take in one finished run.

        Raises:
            StorageError: the disk is full; what waited is lost, all shards before are kept.
        """
        log.write(self._claims.journal)
        self._waiting.append(log)
        if len(self._waiting) >= self._runs or time.monotonic() - self._written >= self._seconds:
            self.flush()

    def flush(self) -> None:
        """Write what waits.

        Raises:
            StorageError: as `add`.
        """
        waiting, self._waiting = self._waiting, []
        self._written = time.monotonic()
        if waiting:
            whole = RunLog()
            for log in waiting:
                whole.add(log)
            whole.write(self._claims.folder)
            shutil.rmtree(self._claims.journal)
            self._claims.release({row.run for row in whole.rows})

    def __enter__(self) -> Self:
        for journal in self._claims.orphans():
            log = unwritten(journal, self._claims.folder)
            if log.rows:
                log.write(self._claims.folder)
        self._before = signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        self.flush()


def unwritten(journal: Path, folder: Path) -> RunLog:
    """The runs of a journal that the folder does not have."""
    left = read_corpus(journal)
    rows = left.rows[~left.rows.run.isin(set(read_corpus(folder).rows.run))]
    runs = set(rows.run)
    raw, plain = left.tensors("raw"), left.tensors("plain")
    return RunLog(
        rows=list(rows_of(rows)),
        graphs={key: left.graphs[key] for key in rows.sketch.dropna()},
        raw={key: value for key, value in raw.items() if key.split("/")[0] in runs},
        plain={key: value for key, value in plain.items() if key.split("/")[0] in runs},
    )


def rows_of(frame: pd.DataFrame) -> Iterator[Row]:
    """The rows that a frame was read from; NaN is null again."""
    objects = frame.astype(object).where(frame.notna(), None)
    for record in objects.to_dict("records"):
        yield Row(**{str(name): value for name, value in record.items()})


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
