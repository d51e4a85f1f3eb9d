"""How long a surrogate takes to learn from 1,000 observations and to score 1,000 candidates.

    python -m training.benchmarks.latency --hub DIR --surrogates DIR [--seeds 10]
        [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

Run it with nothing else on the machine. The observations are epochs of cached runs, drawn as a random search
pays for them; where a task has too few, runs of the next tasks join it. What is scored are runs at random
epochs. An observation answers up to three questions (`fms_hub.search.encoding.answered`), so ours is timed
with all rows of 1,000 observations, their encoding included, and on 1,000 rows alone. DyHPO's fit after so
many observations is 50 Adam steps from where it stood (`training.benchmarks.cached.dyhpo`); both are
timed in turn in the same process. Given are medians, with the fastest and the slowest, of as many repeats as
there are ``--seeds``, with one thread and with two. Ours takes `fms_hub.surrogate.threads.THREADS` for the
Gaussian process, whatever it is given; what more would do is seen where the process is timed alone.

Times are never read back; they are written under ``--out``. ``--split meta-test`` also writes them into
``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from fms_hub.corpus.wholefile import write_whole
from fms_hub.errors import UsageError
from fms_hub.seeding import seeded
from fms_hub.surrogate.inputs import Inputs, evenly
from fms_hub.surrogate.process import Process, predict
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.surrogate.threads import using
from training.benchmarks.cached import dyhpo
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.judging import JudgedTask, expect, judged_tasks, parse, show, table_parser
from training.benchmarks.cached.ours import State
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.rankers import randomly
from training.benchmarks.cached.report import LOG, Report, TableRow, Target

OBSERVATIONS = CANDIDATES = 1000
QUICK = 100
THREADS = (1, 2)
LIMIT = 1.0
"""Seconds, on two idle cores."""
SECONDS = 60.0
"""Of one repeat of everything, at most."""
SEARCH, ROWS = "ours: all rows of the observations, encoding included", "ours: as many rows, encoded before"
ALONE, QUESTIONS = (128, 256, 512, 1024), 320
"""Rows and questions of the process alone, about those of a step of `select`."""
STEPS, SCORES = "DyHPO: 50 Adam steps, then scores", "DyHPO: scores alone"
Times = Mapping[tuple[str, int], Sequence[float]]
"""Seconds by what was done and threads."""


@dataclass(frozen=True)
class Work:
    """What is timed.

    Attributes:
        environment: after a random search.
        runs, epochs: that are scored, (candidates,).
    """

    environment: Environment
    runs: NDArray[np.int64]
    epochs: NDArray[np.int64]


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Time, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = parse(table_parser("latency"), given)
    tasks = judged_tasks(settings)
    size = QUICK if settings.quick else OBSERVATIONS
    surrogate = _surrogate(tasks)
    work = draw([task.pool for task in tasks], size, np.random.default_rng(0))
    expect(settings.seeds * SECONDS / 3600)
    report = _report(tasks[0].pool.hub, settings, size, measure(work, surrogate, settings.seeds))
    settings.out.mkdir(parents=True, exist_ok=True)
    write_whole(settings.out / f"{tasks[0].pool.hub}.json", report.json().encode())
    show(report, settings, given, log)


def _surrogate(tasks: Sequence[JudgedTask]) -> Surrogate:
    for task in tasks:
        if task.surrogate is not None:
            return Surrogate.load(task.surrogate)
    raise UsageError(
        "there is no surrogate to time; name the folder that training.meta_train --held-out wrote "
        "with --surrogates."
    )


def draw(pools: Sequence[Pool], size: int, rng: np.random.Generator) -> Work:
    """A random search of ``size`` epochs, and as many questions about runs at random epochs.

    Raises:
        UsageError: all runs together have fewer epochs.
    """
    environment = Environment(_joined(pools, size), size)
    with suppress(BudgetSpent):
        randomly(environment, rng)
    runs = rng.integers(len(environment.configurations), size=size)
    reached = np.array([environment.reached(int(run)) for run in runs])
    horizons = np.array([environment.configurations[run].horizon for run in runs])
    epochs = np.minimum(reached + rng.integers(1, horizons + 1), horizons)
    return Work(environment, runs, epochs)


def _joined(pools: Sequence[Pool], epochs: int) -> Pool:
    """The first pool, with the runs of the next ones until there are so many epochs."""
    joined = pools[0]
    for pool in pools[1:]:
        if _epochs(joined) >= epochs:
            break
        joined = replace(
            joined,
            candidates={**joined.candidates, **pool.candidates},
            runs=(*joined.runs, *pool.runs),
            sketches={**joined.sketches, **pool.sketches},
        )
    if _epochs(joined) < epochs:
        raise UsageError(f"the hub has runs of {_epochs(joined)} epochs in this split, {epochs} are needed.")
    return joined


def _epochs(pool: Pool) -> int:
    return sum(run.epochs for run in pool.runs)


def measure(work: Work, surrogate: Surrogate, repeats: int) -> dict[tuple[str, int], list[float]]:
    """Seconds of each piece of work, which take turns."""
    found: dict[tuple[str, int], list[float]] = {}
    pieces = _pieces(work, surrogate)
    for threads in THREADS:
        with using(threads):
            for _ in range(repeats):
                for name, piece in pieces.items():
                    began = time.perf_counter()
                    piece()
                    found.setdefault((name, threads), []).append(time.perf_counter() - began)
    return found


def _pieces(work: Work, surrogate: Surrogate) -> dict[str, Callable[[], object]]:
    state = State(work.environment)
    inputs, scores = state.known()
    chosen = evenly(len(scores), len(work.runs))
    known, answers, asked = inputs.rows(chosen), scores[chosen], state.asked(work.runs, work.epochs)
    encoded = dyhpo.configurations(work.environment)
    rows = dyhpo.Rows.of(work.environment, encoded)
    x, curves = dyhpo.inputs(work.environment, encoded, work.runs, work.epochs)
    steps = dyhpo.Steps()
    with seeded(0):
        model = dyhpo.DeepKernel(encoded.shape[1]).double()

    def dyhpo_scores() -> object:
        return model.posterior((rows.x, rows.curves, rows.y), x, curves)

    def dyhpo_fit() -> object:
        dyhpo.fit(model, rows, steps.later, steps.rate)
        return dyhpo_scores()

    return {
        SEARCH: lambda: state.believe(surrogate, work.runs, work.epochs),
        ROWS: lambda: surrogate.condition(known, answers).posterior(asked),
        STEPS: dyhpo_fit,
        SCORES: dyhpo_scores,
        **{
            process_of(size): _process(surrogate, inputs, size, asked)
            for size in ALONE
            if size <= len(scores)
        },
    }


def process_of(rows: int) -> str:
    """What the row of the table is called that has the process alone."""
    return f"ours: the process alone, {rows} rows and {QUESTIONS} questions"


def _process(surrogate: Surrogate, inputs: Inputs, size: int, asked: Inputs) -> Callable[[], object]:
    assert surrogate.learned is not None
    known = surrogate.learned.rows(inputs.rows(evenly(len(inputs), size)))
    queries = surrogate.learned.rows(asked.rows(evenly(len(asked), QUESTIONS))).x
    process = Process(known.x, known.mean, surrogate.learned.form(inputs))

    def predicted() -> object:
        with torch.no_grad():
            return predict(process, known.x, known.mean, queries)

    return predicted


def _report(hub: str, settings: argparse.Namespace, size: int, times: Times) -> Report:
    metric = "seconds: median (fastest, slowest)"
    rows = [
        TableRow(
            name,
            hub,
            f"{threads} thread{'s'[: threads - 1]}",
            metric,
            float(np.median(taken)),
            min(taken),
            max(taken),
            len(taken),
        )
        for (name, threads), taken in times.items()
    ]
    setting = (
        f"hub {hub}, {settings.split}, {size} observations of cached runs, {size} candidates, "
        f"{settings.seeds} repeats, PyTorch {torch.__version__} on the CPU"
    )
    return Report("latency", setting, rows, targets(times))


def targets(times: Times) -> list[Target]:
    """At most a second with two threads, and less than DyHPO's fit."""
    found = []
    for name in (SEARCH, ROWS):
        median = float(np.median(times[name, 2]))
        found.append(Target(f"{name}: seconds with two threads", LIMIT, median, median <= LIMIT))
    share = float(np.median(times[SEARCH, 2]) / np.median(times[STEPS, 2]))
    found.append(Target("seconds over those of DyHPO's fit, two threads", 1.0, share, share < 1))
    return found


if __name__ == "__main__":
    main()
