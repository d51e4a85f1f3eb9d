"""Live searches over the bundled candidates, with and without proposals of a flow network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fms_hub.records import Budget
from fms_hub.search.generator import Proposals
from fms_hub.search.select import select
from training.data import read_npz
from training.gflownet.tables import Outcome

IMAGE_SIZE = 32


@dataclass(frozen=True)
class Contest:
    """What all searches share.

    Attributes:
        data: folder of the dataset .npz files.
        images: most training images, validation included.
        epochs: of a search.
        horizon: epochs of a full run.
        out: folder of the searches; finished ones are read back.
    """

    data: Path
    images: int
    epochs: int
    horizon: int
    out: Path

    def outcomes(self, task: str, seeds: Sequence[int]) -> Mapping[Proposals, list[Outcome]]:
        """One outcome a seed for each way to propose."""
        return {p: [self._search(task, p, seed) for seed in seeds] for p in get_args(Proposals)}

    def _search(self, task: str, proposals: Proposals, seed: int) -> Outcome:
        found = select(
            read_npz(self.data / f"{task}.npz", limit=self.images, seed=seed),
            budget=Budget(epochs=self.epochs),
            max_epochs=self.horizon,
            image_size=IMAGE_SIZE,
            surrogate="scratch",
            proposals=proposals,
            seed=seed,
            out=self.out / f"{task}-{seed}-{proposals}",
            progress=False,
        )
        return Outcome.of(found.history, found.best.test_score)
