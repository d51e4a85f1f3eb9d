"""What a step of the search costs besides training, and what the package weighs.

    python -m training.benchmarks.overhead [--surrogate NAME] [--json]

Run it with nothing else on the machine. The search is a real one, on a fifth of the digits so that
its epochs are short: the overhead depends on the number of observations and on the networks, not on
the images.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from fms_hub.records import Observation
from fms_hub.search.select import select
from fms_hub.tasks.dataset import load_task
from fms_hub.tasks.task import Task, task_from_arrays

OBSERVATIONS = 110
WINDOW = 20


@dataclass(frozen=True)
class Target:
    """A limit, what was measured, and whether it holds."""

    target: str
    required: float
    measured: float

    @property
    def met(self) -> bool:
        """Whether the measured value is at most the required one."""
        return self.measured <= self.required


def small_digits() -> Task:
    """360 of the 1,797 digits, a fifth."""
    digits = load_task("digits", seed=0)
    pixels = np.stack([np.asarray(digits.train.images[i].convert("L")) for i in range(360)])
    return task_from_arrays("small-digits", digits.info.classes, train=(pixels, digits.train.labels[:360]))


def measure_steps(observations: int, surrogate: str) -> tuple[Observation, ...]:
    """The history of a real search over the bundled candidates by the surrogate of that name."""
    with tempfile.TemporaryDirectory() as folder:
        budget = f"{observations} epochs"
        return select(small_digits(), budget=budget, surrogate=surrogate, out=folder, progress=False).history


def command_seconds(command: list[str], repeats: int = 7) -> float:
    """Median wall-clock seconds of a whole process."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def wheel_megabytes() -> float:
    """Size of the built wheel."""
    root = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, str(root)]
        subprocess.run(command, check=True)
        return next(Path(folder).glob("*.whl")).stat().st_size / 1e6


def main() -> None:
    """Measure, print the table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.overhead")
    parser.add_argument("--surrogate", default="bundled", help="name, folder or file; scratch for none")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    plain = command_seconds([sys.executable, "-c", "pass"])
    importing = command_seconds([sys.executable, "-c", "import fms_hub"])
    helping = command_seconds([sys.executable, "-m", "fms_hub.cli", "--help"])
    wheel = wheel_megabytes()
    history = measure_steps(OBSERVATIONS, arguments.surrogate)
    late = [o.overhead for o in history if abs(history.index(o) - 100) <= WINDOW // 2]
    targets = [
        Target("overhead a step at 100 observations, mean seconds", 0.1, statistics.mean(late)),
        Target("overhead a step at 100 observations, median seconds", 0.1, statistics.median(late)),
        Target("peak memory, GB", 3.0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6),
        Target("import fms_hub, seconds", 0.3, importing),
        Target("fms-hub --help, seconds", 0.6, helping),
        Target("wheel, MB", 15.0, wheel),
    ]
    if arguments.json:
        rows = [{**asdict(target), "met": target.met} for target in targets]
        print(json.dumps({"benchmark": "overhead", "python_alone": plain, "targets": rows}))
        return
    print(f"{'':<52} {'limit':>6} {'here':>8}")
    for target in targets:
        print(
            f"{target.target:<52} {target.required:>6} {target.measured:>8.3f}"
            f"{'' if target.met else '  MISSED'}"
        )


if __name__ == "__main__":
    main()
