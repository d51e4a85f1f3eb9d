"""Seconds of an epoch of each cached run, on one reference device.

Sweeps share their machine, so their own clocks say little. Instead the time of an optimiser step was
measured once for each architecture at two batch sizes (`python -m training.benchmarks.cached.step_time`); a
step is taken to be linear in the batch between them, and an epoch is so many steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fms_hub.errors import UsageError
from training.benchmarks.cached.pool import CachedRun, Pool
from training.corpus.tasks import EPOCH_IMAGES

BATCHES = (16, 128)
MEASURED = Path(__file__).parent / "step_seconds.json"
"""Of one CPU, for all architectures of the hubs."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of one optimiser step.

    Attributes:
        source: where, when and how it was measured, in words.
        seconds: by architecture, at each of `BATCHES`.
    """

    source: str
    seconds: Mapping[str, tuple[float, float]]

    def step(self, architecture: str, batch: int) -> float:
        """Seconds of a step, linear in the batch, never below a tenth of that of the smaller one.

        Raises:
            UsageError: the architecture was not measured.
        """
        if architecture not in self.seconds:
            raise UsageError(
                f"there is no step time of {architecture}; "
                "measure it with `python -m training.benchmarks.cached.step_time`."
            )
        small, large = self.seconds[architecture]
        slope = (large - small) / (BATCHES[1] - BATCHES[0])
        return max(small + slope * (batch - BATCHES[0]), small / 10)


def read_step_times(path: Path) -> StepTimes:
    """Read what `training.benchmarks.cached.step_time` wrote.

    Raises:
        UsageError: the file is no such table.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        table = {name: (float(pair[0]), float(pair[1])) for name, pair in content["seconds"].items()}
        return StepTimes(str(content["source"]), table)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{path} is no table of step times ({error}); make one with step_time.") from error


def epoch_seconds(pool: Pool, times: StepTimes) -> NDArray[np.float64]:
    """Seconds of an epoch of each run of a pool, (n,); validation is left out.

    Raises:
        UsageError: an architecture was not measured, or the task's number of training images is unknown.
    """
    if pool.task.train is None:
        raise UsageError(f"the task {pool.task.name} does not say how many training images it has.")
    return np.array([_epoch(run, pool, times, pool.task.train) for run in pool.runs])


def _epoch(run: CachedRun, pool: Pool, times: StepTimes, images: int) -> float:
    fraction = float(run.hyperparameters.get("train_fraction", 1.0))
    seen = min(max(int(images * fraction), 1), EPOCH_IMAGES)
    batch = int(run.hyperparameters.get("batch_size", 32))
    return math.ceil(seen / batch) * times.step(pool.candidates[run.candidate].architecture, batch)
