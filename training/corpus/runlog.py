"""What a run leaves, and the sink that gathers finished runs into shards."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn, Self

from fms_hub.weights.graph import WeightGraph
from training.corpus.claims import Claims
from training.corpus.shards import Row, Tensors, write_shard

SECONDS_PER_SHARD = 180.0
"""A finished run waits at most about so long for its shard; a killed sweep loses no more."""


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

    def write(self, folder: Path) -> Path:
        """As one shard.

        Raises:
            StorageError: as `write_shard`.
        """
        return write_shard(folder, self.rows, self.graphs, {"raw": self.raw, "plain": self.plain})


class Sink:
    """Writes finished runs as shards and gives back their claims.

    What waits is written on leaving, also when the process is asked to end (SIGTERM, Ctrl-C).

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
            self._claims.release({row.run for row in whole.rows})

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._before)
        self.flush()


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
