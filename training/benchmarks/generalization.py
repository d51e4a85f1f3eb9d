"""What meta-training must have seen: many tasks or one, the task or its architectures.

    python -m training.benchmarks.generalization --hub DIR [--steps 300] [--trees 300] [--seeds 10]
        [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

After the paper's Figure 3 (Mehta et al. 2024): Kendall's tau of predicted against true final scores of all
runs, failed ones counting as 0, after 0, 50 and 100 epochs of random search. Two blocks of rows, each judged
on the same runs (`training.benchmarks.cached.regimes`): surrogates that learned from all other groups of
tasks, from one other task, or from the search alone; and, on the runs of one fold of architectures after the
other, surrogates that had not seen the task, the architectures, or either. Intervals are 95 %, clustered by
task.

Surrogates and their forests are fitted here and kept under ``--out`` like all results; a command that was
stopped goes on.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.environment import BudgetSpent, Environment
from training.benchmarks.cached.judging import (
    described,
    expect,
    ids,
    judged_of,
    key_of,
    lead,
    location,
    parse,
    show,
    stored,
    table_parser,
)
from training.benchmarks.cached.ours import Ours
from training.benchmarks.cached.rankers import randomly
from training.benchmarks.cached.regimes import (
    FAMILY,
    MANY,
    NEW_BOTH,
    NEW_FAMILY,
    NEW_TASK,
    NOTES,
    ONE,
    SCRATCH,
    WHOLE,
    Case,
    cases,
)
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.start import hub_pools
from training.benchmarks.cached.statistics import clustered_row, kendall
from training.corpus.splits import read_splits
from training.meta.fitting import fit
from training.meta.shelf import Shelf
from training.meta.train import Settings

SPENT, QUICK_SPENT, QUICK_RUNS = (0, 50, 100), (0, 20), 40
QUICK_SETTINGS = Settings(steps=20, trees=10)
FIT_SECONDS, SEARCH_SECONDS = 300.0, 3.0
"""Of one meta-training, and of one search and its forecasts, at most."""
Found = dict[tuple[str, int], dict[str, list[float]]]
"""Tau by regime and epochs of search, and by task."""


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Fit, search or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = table_parser("generalization")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="of meta-training")
    parser.add_argument("--trees", type=int, default=Settings.trees, help="of each sum of meta-training")
    settings = parse(parser, given)
    torch.set_num_threads(1)
    everything = hub_pools(settings.hub)
    if settings.quick:
        everything = {
            name: pool.only(range(len(pool.runs))[:QUICK_RUNS]) for name, pool in everything.items()
        }
    tasks = judged_of(everything, settings)
    made = list(cases(tasks, everything, read_splits()))
    training = QUICK_SETTINGS if settings.quick else Settings(steps=settings.steps, trees=settings.trees)
    spent = QUICK_SPENT if settings.quick else SPENT
    expect(_hours(made, training, len(spent) * settings.seeds, settings.out))
    found = _found(made, spent, training, settings)
    setting = (
        f"{described(settings, tasks)}; {training.steps} steps and two sums of {training.trees} trees of "
        "meta-training; random searches; Kendall's tau of predicted against true final scores"
    )
    rows = list(_rows(tasks[0].pool.hub, found))
    show(Report("generalization", setting, rows, targets(found)), settings, given, log)


def _hours(made: Sequence[Case], training: Settings, searches: int, out: Path) -> float:
    paths = {_path(case, training, out) for case in made if case.training}
    fits = sum(not path.exists() for path in paths)
    return (fits * FIT_SECONDS + len(made) * searches * SEARCH_SECONDS) / 3600


def _found(
    made: Sequence[Case], spent: Sequence[int], training: Settings, settings: argparse.Namespace
) -> Found:
    found: Found = {}
    for case, epochs, seed in product(made, spent, range(settings.seeds)):
        # Before a search all seeds are the same, and from scratch there is nothing to say.
        if epochs == 0 and (seed > 0 or case.regime == SCRATCH):
            continue
        path = location(settings.out, case.task.pool, f"{case.regime}-{case.part}-{epochs}-{seed}")
        key = key_of([NOTES[case.regime], ids(case.task.pool), _learned(case, training)])
        tau = stored(path, key, partial(_tau, case, epochs, seed, training, settings.out))["tau"]
        found.setdefault((case.regime, epochs), {}).setdefault(case.task.task, []).append(tau)
    return found


def _tau(case: Case, epochs: int, seed: int, training: Settings, out: Path) -> dict[str, float]:
    environment = Environment(case.task.pool, max(epochs, 1))
    rng = np.random.default_rng(derived_seed(case.task.task, seed))
    if epochs:
        with suppress(BudgetSpent):
            randomly(environment, rng)
    predicted = Ours(_surrogate(case, training, out)).finals(environment).mean
    return {"tau": kendall(predicted, case.task.pool.finals())}


def _surrogate(case: Case, training: Settings, out: Path) -> Surrogate:
    """From scratch, or meta-trained on the case's pools, once for all cases with the same."""
    if not case.training:
        return Surrogate()
    path = _path(case, training, out)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        shelf = Shelf(out / "forests")
        fit(case.regime, case.training, read_splits(), training, shelf=shelf).surrogate.save(path)
    return Surrogate.load(path)


def _path(case: Case, training: Settings, out: Path) -> Path:
    return out / "surrogates" / f"{key_of(_learned(case, training))}.safetensors"


def _learned(case: Case, training: Settings) -> list[object]:
    learned = [[pool.task.name, *ids(pool)] for pool in case.training]
    return [learned, training.steps, training.trees, training.seed]


def _rows(hub: str, found: Found) -> Iterator[TableRow]:
    for (regime, epochs), taus in found.items():
        ranked = WHOLE if regime in (MANY, ONE, SCRATCH) else FAMILY
        at, metric = f"{epochs} epochs", f"Kendall's tau, {ranked}"
        yield clustered_row(f"{regime}: {NOTES[regime]}", hub, at, metric, taus)


def targets(found: Found) -> list[Target]:
    """Many tasks teach more than one, at every budget; the other gaps of the figure stand in the rows."""
    made = []
    for epochs in sorted({epochs for _, epochs in found}):
        for better, worse in ((MANY, ONE), (MANY, SCRATCH), (NEW_TASK, NEW_BOTH), (NEW_FAMILY, NEW_BOTH)):
            if (worse, epochs) in found:
                gap = lead(found[better, epochs], found[worse, epochs])
                measured = None if gap is None else gap.value
                name = f"tau of {better} minus that of {worse} after {epochs} epochs"
                made.append(Target(name, 0.0, measured, (measured or 0) > 0))
    return made


if __name__ == "__main__":
    main()
