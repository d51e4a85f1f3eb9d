"""What a search was told: in memory, and in its folder where it has one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fms_hub.hub.entries import Entries, Entry
from fms_hub.hub.logbook import Logbook
from fms_hub.records import Observation, Probe, Proposal
from fms_hub.search.encoding import Vector
from fms_hub.weights.graph import WeightGraph


class Memory:
    """The entries of a search's log, and the sketches beside it.

    Args:
        folder: of the search, whose log is opened and read; None keeps nothing.
        identity: of the search, see `fms_hub.hub.logbook.Logbook`.
        sketches: pooled weight graphs by (run, epoch) that are known from elsewhere.

    Attributes:
        sketches: pooled weight graphs by (run, epoch).

    Raises:
        OutputError, ResumeError, CheckpointError: as the log; a sketch is damaged.
    """

    def __init__(
        self, folder: Path | None, identity: Mapping[str, str], sketches: Mapping[tuple[int, int], Vector]
    ) -> None:
        self.sketches = dict(sketches)
        self._folder = folder
        self._log = None if folder is None else Logbook(folder, identity)
        self._entries = Entries() if self._log is None else self._log.entries
        if folder is not None:
            self.sketches |= {(o.run, o.epoch): _read(folder, o.sketch) for o in self.history if o.sketch}

    @property
    def history(self) -> Sequence[Observation]:
        """All observations, oldest first."""
        return self._entries.history

    @property
    def probes(self) -> Mapping[str, Probe]:
        """By candidate, oldest first."""
        return self._entries.probes

    def save_sketch(self, proposal: Proposal, graph: WeightGraph) -> str | None:
        """Put the weights after the proposed epoch beside the log; None without a folder."""
        if self._folder is None:
            return None
        (self._folder / "sketches").mkdir(exist_ok=True)
        name = f"sketches/r{proposal.run:04d}-e{proposal.epoch:03d}.safetensors"
        graph.save(self._folder / name)
        return name

    def add(self, observation: Observation, graph: WeightGraph | None) -> None:
        """Keep an observation, and what its weights look like.

        Raises:
            StorageError: the log cannot be written.
        """
        self._append(observation)
        if graph is not None:
            self.sketches[observation.run, observation.epoch] = self._pooled(observation, graph)

    def add_probe(self, probe: Probe) -> None:
        """Keep a probe.

        Raises:
            StorageError: the log cannot be written.
        """
        self._append(probe)

    def close(self) -> None:
        """Release the log."""
        if self._log is not None:
            self._log.close()

    def _append(self, entry: Entry) -> None:
        if self._log is None:
            self._entries.add(entry)
        else:
            self._log.append(entry)

    def _pooled(self, observation: Observation, graph: WeightGraph) -> Vector:
        """As read back where it is kept, so that a resumed search sees the very same numbers."""
        if self._folder is None or observation.sketch is None:
            return graph.pooled()
        return _read(self._folder, observation.sketch)


def _read(folder: Path, name: str) -> Vector:
    return WeightGraph.load(folder / name).pooled()
