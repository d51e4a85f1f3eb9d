"""What the lines of a log say: entries to JSON objects and back, each held against those before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fms_hub.records import Observation, Parent, Probe

Entry = Observation | Probe
_PARENT = "parent"
_OBSERVATION = {field.name for field in dataclasses.fields(Observation)} - {_PARENT}
_PROBE = {field.name for field in dataclasses.fields(Probe)}
_FIDELITY_0 = {"epoch": 0}
"""What marks the line of a probe."""


class Entries:
    """The entries of a log, in the order in which they were told."""

    def __init__(self) -> None:
        self.history: list[Observation] = []
        self.probes: dict[str, Probe] = {}
        self._latest: dict[int, Observation] = {}

    def check(self, entry: Entry) -> None:
        """Whether an entry can come next.

        Raises:
            ValueError: an observation does not follow its run's last one, or a candidate is probed twice.
        """
        if isinstance(entry, Observation):
            _check_follows(self._latest, entry)
        elif entry.candidate in self.probes:
            raise ValueError(f"{entry.candidate} was probed before")

    def add(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            ValueError: as `check`.
        """
        self.check(entry)
        if isinstance(entry, Probe):
            self.probes[entry.candidate] = entry
        else:
            self.history.append(entry)
            self._latest[entry.run] = entry


def to_record(entry: Entry) -> dict[str, Any]:
    """As a line says it: a parent is named where there is one, a probe is an epoch 0."""
    record = dataclasses.asdict(entry)
    if isinstance(entry, Probe):
        return {**record, **_FIDELITY_0}
    return {name: value for name, value in record.items() if name != _PARENT or value is not None}


def from_record(record: Any) -> Entry:
    """The entry of a line.

    Raises:
        ValueError: it is none, or a value is outside its range.
    """
    if not isinstance(record, dict):
        raise ValueError("expected an object")
    try:
        if set(record) == _PROBE | set(_FIDELITY_0) and record["epoch"] == 0:
            return Probe(**{name: record[name] for name in _PROBE})
        if set(record) - {_PARENT} == _OBSERVATION:
            parent = record.get(_PARENT)
            return Observation(**{**record, _PARENT: None if parent is None else _parent(parent)})
    except TypeError as error:
        raise ValueError(f"a value is of another type: {error}") from error
    raise ValueError("expected the fields of an observation or of a probe")


def _parent(record: Any) -> Parent:
    if not isinstance(record, dict) or set(record) != {"run", "epoch"}:
        raise ValueError("expected run and epoch of a parent")
    return Parent(**record)


def _check_follows(latest: Mapping[int, Observation], observation: Observation) -> None:
    """Epochs go on from the parent's, or from 1, without gap or double, and nothing follows a failure."""
    last, parent = latest.get(observation.run), observation.parent
    if last is None and parent is not None:
        _check_parent(latest.get(parent.run), observation, parent)
    start = 0 if parent is None else parent.epoch
    expected = start + 1 if last is None else last.epoch + 1
    if observation.epoch != expected:
        raise ValueError(f"run {observation.run}: expected epoch {expected}, found {observation.epoch}")
    if last is not None and last.parent != parent:
        raise ValueError(f"run {observation.run} began from {last.parent}, found {parent}")
    if last is not None and last.status == "failed":
        raise ValueError(f"run {observation.run} failed in epoch {last.epoch} and cannot go on")


def _check_parent(found: Observation | None, observation: Observation, parent: Parent) -> None:
    """What is forked from has been logged before, which leaves no cycles, and is of the same candidate."""
    reached = 0 if found is None else found.epoch - (found.status == "failed")
    if found is None or not (0 if found.parent is None else found.parent.epoch) < parent.epoch <= reached:
        raise ValueError(f"run {observation.run} goes on from {parent}, which is not logged before it")
    if found.candidate != observation.candidate:
        raise ValueError(
            f"run {observation.run} is of {observation.candidate} and goes on from run {parent.run}, "
            f"which is of {found.candidate}: a fork keeps its architecture"
        )
