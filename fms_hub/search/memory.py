"""What a search was told: in memory, and in its folder where it has one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

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
        history: all observations, oldest first.
        probes: by candidate, oldest first.
        sketches: pooled weight graphs by (run, epoch).

    Raises:
        OutputError, ResumeError, CheckpointError: as the log; a sketch is damaged.
    """

    def __init__(
        self, folder: Path | None, identity: Mapping[str, str], sketches: Mapping[tuple[int, int], Vector]
    ) -> None:
        self.history: list[Observation] = []
        self.probes: dict[str, Probe] = {}
        self.sketches = dict(sketches)
        self._folder = folder
        self._log: Logbook | None = None
        if folder is not None:
            self._log = Logbook(folder, identity)
            self.history = list(self._log.history)
            self.probes = {probe.candidate: probe for probe in self._log.probes}
            self.sketches |= {(o.run, o.epoch): _read(folder, o.sketch) for o in self.history if o.sketch}

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
        if self._log is not None:
            self._log.append(observation)
        self.history.append(observation)
        if graph is not None:
            self.sketches[observation.run, observation.epoch] = self._pooled(observation, graph)

    def add_probe(self, probe: Probe) -> None:
        """Keep a probe.

        Raises:
            StorageError: the log cannot be written.
        """
        if self._log is not None:
            self._log.append(probe)
        self.probes[probe.candidate] = probe

    def close(self) -> None:
        """Release the log."""
        if self._log is not None:
            self._log.close()

    def _pooled(self, observation: Observation, graph: WeightGraph) -> Vector:
        """As read back where it is kept, so that a resumed search sees the very same numbers."""
        if self._folder is None or observation.sketch is None:
            return graph.pooled()
        return _read(self._folder, observation.sketch)


def _read(folder: Path, name: str) -> Vector:
    return WeightGraph.load(folder / name).pooled()
