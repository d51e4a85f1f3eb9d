"""Runs that go on from another run's checkpoint: whose epochs came before theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fms_hub.records import Observation, Proposal

Curve = tuple[Observation, ...]
"""Epochs 1, 2, 3 ... that led to some weights, oldest first; a fork's ancestors' come before its own."""


def curves(history: Sequence[Observation]) -> dict[int, Curve]:
    """The curve of each run.

    Args:
        history: oldest first; a fork comes after the epoch that it goes on from.
    """
    found: dict[int, Curve] = {}
    for observation in history:
        found[observation.run] = (*curve_of(found, observation), observation)
    return found


def curve_of(known: Mapping[int, Curve], subject: Observation | Proposal) -> Curve:
    """The epochs before the subject's own, given the curves so far."""
    if subject.run in known:
        return known[subject.run]
    if subject.parent is None:
        return ()
    return tuple(o for o in known[subject.parent.run] if o.epoch <= subject.parent.epoch)


def rooted(history: Sequence[Observation]) -> list[Observation]:
    """The observations all of whose ancestors are there too."""
    there: dict[int, int] = {}
    kept = []
    for observation in history:
        parent = observation.parent
        if observation.run in there or parent is None or there.get(parent.run, 0) >= parent.epoch:
            there[observation.run] = observation.epoch
            kept.append(observation)
    return kept
