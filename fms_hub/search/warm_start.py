"""What earlier logs tell a search before its first epoch: searches over the same data, or imported runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fms_hub.errors import CandidateError, UsageError
from fms_hub.hub.logbook import read_history, read_identity
from fms_hub.records import Observation, Parent
from fms_hub.search.encoding import Vector
from fms_hub.search.lineage import rooted
from fms_hub.search.space import Space
from fms_hub.weights.graph import WeightGraph

MOST_EPOCHS = 400
"""Of earlier logs, about. An epoch answers up to three questions: beside these there is room for some 280
epochs of the search among the rows that a surrogate is conditioned on. A proposal then takes a second."""
SAME = ("dataset", "metric")
"""What earlier scores must be about, wherever both logs say it."""


@dataclass(frozen=True)
class Earlier:
    """Runs of earlier logs. They cost nothing of the budget, are never continued and never win.

    Attributes:
        observations: oldest log first; their runs are numbered -1, -2 ... so that no run of the search
            itself has such a number.
        files: sketches of their weights by (run, epoch), where they were kept.
    """

    observations: tuple[Observation, ...] = ()
    files: Mapping[tuple[int, int], Path] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """What must be the same for a search to be resumed: nothing where there is nothing earlier."""
        if not self.observations:
            return {}
        content = json.dumps([dataclasses.asdict(o) for o in self.observations], sort_keys=True)
        return {"warm_start": hashlib.sha256(content.encode()).hexdigest()[:16]}

    def sketches(self) -> dict[tuple[int, int], Vector]:
        """Pooled weight graphs by (run, epoch).

        Raises:
            CheckpointError: a sketch is damaged or of another version.
        """
        known = {(o.run, o.epoch) for o in self.observations}
        return {key: WeightGraph.load(path).pooled() for key, path in self.files.items() if key in known}


def read_earlier(
    folders: str | Path | Iterable[str | Path],
    candidates: Collection[str],
    space: Space,
    *,
    identity: Mapping[str, str],
    out: str | Path | None,
) -> Earlier:
    """Read the logs that a search starts from; of more than about 400 epochs a part, with a warning.

    Args:
        folders: of searches, or of imported runs (see `fms_hub.hub.importers.log`).
        candidates: of the search. Runs of others still teach hyperparameters, if some run is of one of these.
        space: of the search.
        identity: of the search; an earlier log must agree about the dataset and the metric.
        out: the search's own folder, which cannot be one of those.

    Raises:
        OutputError: a folder holds no log.
        CheckpointError: a log is damaged.
        CandidateError: no earlier run is of a candidate of the search.
        UsageError: a folder comes twice, is the search's own, has no epoch, is about other data or another
            metric, or has a hyperparameter that the space cannot place.
    """
    paths = [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]
    _check_folders(paths, out)
    found: list[Observation] = []
    files: dict[tuple[int, int], Path] = {}
    for path in paths:
        history = _read(path, identity, space)
        first = -1 - len({o.run for o in found})
        numbers = {run: first - n for n, run in enumerate(dict.fromkeys(o.run for o in history))}
        for observation in history:
            run = numbers[observation.run]
            if observation.sketch is not None and (path / observation.sketch).is_file():
                files[run, observation.epoch] = path / observation.sketch
            origin = observation.parent
            parent = None if origin is None else Parent(numbers[origin.run], origin.epoch)
            found.append(
                dataclasses.replace(observation, run=run, checkpoint=None, sketch=None, parent=parent)
            )
    _check_candidates(found, candidates)
    return Earlier(_thinned(found), files)


def _thinned(found: Sequence[Observation]) -> tuple[Observation, ...]:
    """All runs, or of too many the best, the worst and some evenly between, by their best scores.

    What a surrogate is conditioned on costs its number cubed, at every proposal.
    """
    if len(found) <= MOST_EPOCHS:
        return tuple(found)
    best: dict[int, float] = {}
    for observation in found:
        score = -1.0 if observation.score is None else observation.score
        best[observation.run] = max(best.get(observation.run, -1.0), score)
    ranked = sorted(best, key=lambda run: -best[run])
    places = np.linspace(0, len(ranked) - 1, max(2, len(ranked) * MOST_EPOCHS // len(found)))
    chosen = {ranked[int(place)] for place in places}
    kept = tuple(rooted([observation for observation in found if observation.run in chosen]))
    warnings.warn(
        f"the earlier logs have {len(found)} epochs; the search starts from the {len(kept)} of "
        f"{len(chosen)} of their {len(ranked)} runs, spread evenly from the best to the worst; more "
        "would make every proposal slow.",
        stacklevel=2,
    )
    return kept


def _check_folders(paths: Sequence[Path], out: str | Path | None) -> None:
    seen = set() if out is None else {Path(out).resolve()}
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(
                f"warm_start names {path}, which is the search's own folder or was named before; a "
                "log counts once. Leave it out: a search goes on from its own log by itself."
            )
        seen.add(path.resolve())


def _read(path: Path, identity: Mapping[str, str], space: Space) -> tuple[Observation, ...]:
    history = read_history(path)
    if not history:
        raise UsageError(f"{path} has no epoch in its log to start from; leave it out of warm_start.")
    said = read_identity(path)
    for name in SAME:
        if name in said and name in identity and said[name] != identity[name]:
            raise UsageError(
                f"{path} is about another {name} ({said[name]}) than this search ({identity[name]}); its "
                "scores mean something else. Leave it out of warm_start."
            )
    for observation in history:
        if observation.epoch == 1 or observation.parent is not None:
            _check_encodes(path, observation, space)
    return history


def _check_encodes(path: Path, observation: Observation, space: Space) -> None:
    try:
        space.encode([observation.hyperparameters])
    except (ValueError, TypeError) as error:
        raise UsageError(
            f"{path}, run {observation.run}: the search space cannot place its hyperparameters ({error}). "
            "Widen the space, or leave this log out of warm_start."
        ) from error


def _check_candidates(found: Sequence[Observation], candidates: Collection[str]) -> None:
    trained = sorted({o.candidate for o in found})
    if found and not set(trained) & set(candidates):
        raise CandidateError(
            f"warm_start has runs of {', '.join(trained)}, this search has {', '.join(candidates)}: "
            "expected at least one in common. Import them with the name that this search uses (--candidate)."
        )
