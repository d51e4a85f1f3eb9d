"""Which runs a sweep consists of: known before anything is trained, so that a killed sweep goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from fms_hub.records import Value


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep: everything that determines its outcome.

    Attributes:
        task: name of the dataset file, ``NAME`` or ``NAME:DOMAIN``.
        candidate: what `training.corpus.candidates.resolve` understands.
        hyperparameters: of the run.
        horizon: epochs, all of which are trained.
        seed: of heads, random initialisations and data order.
    """

    task: str
    candidate: str
    hyperparameters: Mapping[str, Value]
    horizon: int
    seed: int

    @property
    def id(self) -> str:
        """First 16 hexadecimal digits of the sha256 of all of it."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def keeps_raw(run: PlannedRun, every: int) -> bool:
    """Whether the run is one of the about one in ``every`` whose weights are kept; 0 keeps none."""
    return every > 0 and int(run.id, 16) % every == 0


def plan(
    tasks: Sequence[str], candidates: Sequence[str], horizons: Sequence[int], seed: int
) -> Iterator[PlannedRun]:
    """An endless sweep: round after round, one configuration for each (task, candidate).

    The first round takes the default configuration, the others draw uniformly. A longer sweep
    begins with a shorter one's runs.
    """
    from fms_hub.search.space import Space  # small-cnn sweeps do without ConfigSpace

    space = Space()
    round_number = 0
    while True:
        for i, task in enumerate(tasks):
            for j, candidate in enumerate(candidates):
                draw = int(np.random.SeedSequence([seed, round_number, i, j]).generate_state(1)[0])
                values = space.default() if round_number == 0 else space.sample(1, draw % 2**31)[0]
                horizon = horizons[round_number % len(horizons)]
                yield PlannedRun(task, candidate, values, horizon, seed)
        round_number += 1
