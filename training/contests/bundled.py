"""Live searches over the bundled candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fms_hub.records import Budget
from fms_hub.search.select import select
from training.contests.arms import Arm
from training.contests.outcomes import Outcome
from training.data import read_npz

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

    def outcomes(self, task: str, arms: Sequence[Arm], seeds: Sequence[int]) -> Mapping[str, list[Outcome]]:
        """One outcome a seed of each arm, by its name."""
        return {arm.name: [self._search(task, arm, seed) for seed in seeds] for arm in arms}

    def _search(self, task: str, arm: Arm, seed: int) -> Outcome:
        found = select(
            read_npz(self.data / f"{task}.npz", limit=self.images, seed=seed),
            budget=Budget(epochs=self.epochs),
            max_epochs=self.horizon,
            image_size=IMAGE_SIZE,
            surrogate="scratch",
            proposals=arm.proposals,
            forking=arm.forking,
            seed=seed,
            out=self.out / f"{task}-{seed}-{arm.name}",
            progress=False,
        )
        return Outcome.of(found.history, found.best.test_score)
