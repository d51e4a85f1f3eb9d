"""Live searches over the bundled candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fms_hub.records import Budget
from fms_hub.search.select import select
from fms_hub.search.selection import Selection
from training.contests.arms import Arm
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
        surrogates: what searches on a task start from, by its name; on others they learn from themselves.
    """

    data: Path
    images: int
    epochs: int
    horizon: int
    out: Path
    surrogates: Mapping[str, str]

    def searches(self, task: str, arms: Sequence[Arm], seeds: Sequence[int]) -> Mapping[str, list[Selection]]:
        """One search a seed of each arm, by its name."""
        return {arm.name: [self._search(task, arm, seed) for seed in seeds] for arm in arms}

    def _search(self, task: str, arm: Arm, seed: int) -> Selection:
        return select(
            read_npz(self.data / f"{task}.npz", limit=self.images, seed=seed),
            budget=Budget(epochs=self.epochs),
            max_epochs=self.horizon,
            image_size=IMAGE_SIZE,
            surrogate=self.surrogates.get(task, "scratch"),
            acquisition=arm.rule,
            proposals=arm.proposals,
            forking=arm.forking,
            seed=seed,
            out=self.out / f"{task}-{seed}-{arm.name}",
            progress=False,
        )
