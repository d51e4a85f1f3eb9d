"""Live searches over the bundled candidates, with and without proposals of a flow network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from fms_hub.records import Budget
from fms_hub.search.generator import Proposals
from fms_hub.search.select import select
from training.benchmarks.against_random import interval
from training.benchmarks.cached.report import TableRow
from training.data import read_npz

IMAGE_SIZE = 32
METRICS = {
    "half": "best validation accuracy half way",
    "validation": "best validation accuracy",
    "test": "test accuracy of the winner",
    "overhead": "seconds a step besides training",
}


@dataclass(frozen=True)
class Contest:
    """What all searches share.

    Attributes:
        data: folder of the dataset .npz files.
        tasks: names of datasets.
        images: most training images of each, validation included.
        epochs: of a search.
        horizon: epochs of a full run.
        out: folder of the searches; finished ones are read back.
    """

    data: Path
    tasks: tuple[str, ...]
    images: int
    epochs: int
    horizon: int
    out: Path

    def search(self, task: str, proposals: Proposals, seed: int) -> Mapping[str, float]:
        """One search, by the names of `METRICS`."""
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
        scores = [o.score or 0.0 for o in found.history]
        return {
            "half": max(scores[: self.epochs // 2]),
            "validation": found.best.score,
            "test": found.best.test_score,
            "overhead": sum(o.overhead for o in found.history) / len(found.history),
        }

    def rows(self, seeds: Sequence[int]) -> list[TableRow]:
        """Means over seeds for each task and way to propose, and their paired difference."""
        found = []
        for task in self.tasks:
            of = {p: [self.search(task, p, seed) for seed in seeds] for p in get_args(Proposals)}
            for field, metric in METRICS.items():
                columns: dict[str, list[float]] = {p: [s[field] for s in all_] for p, all_ in of.items()}
                pairs = zip(columns["gflownet"], columns["local"], strict=True)
                columns["gflownet minus local"] = [a - b for a, b in pairs]
                for name, values in columns.items():
                    mean, low, high = interval(values)
                    at = f"{self.epochs} epochs"
                    found.append(TableRow(name, task, at, metric, mean, low, high, len(values)))
        return found
