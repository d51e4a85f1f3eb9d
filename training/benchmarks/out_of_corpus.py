"""Beyond the corpus: interval coverage and Kendall's tau on logs of others, with weights absent.

    python -m training.corpus outside --tables DIR --out OUTSIDE
    python -m training.benchmarks.out_of_corpus --hub OUTSIDE [--surrogates DIR] [--methods fms,scratch]
        [--seeds 10] [--split meta-validation|meta-test] [--out DIR] [--json] [--quick]

These networks and tasks are larger than those of the corpus. Before anything of a run is seen, its last known
score is foreseen (`training.benchmarks.cached.outside`): with no run of the task known, and with 20 known to
their ends, drawn at random. Tasks are split like all others, by their groups: the results on ImageNet are in
meta-validation, the aerial sweeps in meta-test. Those are variants of one dataset, so that their intervals,
clustered by task, are rather too narrow; one task alone has no interval but that of the draws.

The surrogate is ``all.safetensors`` of the folder of ``--surrogates``, as `training.meta_train` writes it
without ``--held-out``: no outside log may be among what it learned from. Results are stored under ``--out``.
``--split meta-test`` writes date, command and result into ``training/LOG.md``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch

from fms_hub.errors import UsageError
from fms_hub.seeding import derived_seed
from fms_hub.surrogate.surrogate import Surrogate
from training.benchmarks.cached.folds import DEVELOPMENT
from training.benchmarks.cached.judging import expect, key_of, parse, show, stored, table_parser
from training.benchmarks.cached.outside import Outside, read_outside
from training.benchmarks.cached.report import LOG, Report, TableRow, Target
from training.benchmarks.cached.statistics import clustered, clustered_row, kendall
from training.benchmarks.cached.trust import TOLD, Trust, fitted, percent
from training.corpus.splits import read_splits
from training.meta_train import ALL

OURS, SCRATCH = "fms", "scratch"
NOTES = {OURS: "ours, meta-trained", SCRATCH: "additive kernels, known runs alone"}
KNOWN = (0, 20)
REST = 5
"""A task with fewer runs beside the known ones is not judged with so many known."""
SLACK, SECONDS = 0.05, 5.0
TAU = "Kendall's tau"
Found = dict[tuple[str, int, str, str], dict[str, list[float]]]
"""By row, runs known, log and metric: by task, one a seed."""


def main(arguments: Sequence[str] | None = None, log: Path = LOG) -> None:
    """Forecast or read back, print the table or JSON."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser = table_parser("out_of_corpus")
    parser.add_argument("--methods", default=",".join(NOTES))
    settings = parse(parser, given, tuple(NOTES))
    torch.set_num_threads(1)
    tasks = _judged(settings)
    surrogate = None if settings.surrogates is None else settings.surrogates / f"{ALL}.safetensors"
    names = settings.methods.split(",")
    if OURS in names and (surrogate is None or not surrogate.exists()):
        print(f"{OURS} is left out: no {ALL}.safetensors in --surrogates", file=sys.stderr)
        names.remove(OURS)
    expect(len(tasks) * len(names) * len(KNOWN) * settings.seeds * SECONDS / 3600)
    found = _found(tasks, names, surrogate, settings)
    show(Report("out_of_corpus", _setting(settings, tasks), list(_rows(found)), targets(found)),
         settings, given, log)  # fmt: skip


def _judged(settings: argparse.Namespace) -> list[Outside]:
    group = read_splits().group
    validation = settings.split == "meta-validation"
    everything = read_outside(settings.hub)
    found = [one for one in everything if (group[one.task.name] in DEVELOPMENT) == validation]
    if not found:
        there = ", ".join(sorted({one.task.name for one in everything}))
        raise UsageError(f"none of the tasks {there} is in the split {settings.split}.")
    return found


def _found(
    tasks: Sequence[Outside], names: Sequence[str], surrogate: Path | None, settings: argparse.Namespace
) -> Found:
    found: Found = {}
    for one, name, known in product(tasks, names, KNOWN):
        if (known and len(one.scores) < known + REST) or (name == SCRATCH and not known):
            continue
        path = surrogate if name == OURS else None
        for seed in range(settings.seeds if known else 1):
            file = settings.out / one.hub / one.task.name / f"{name}-{known}-{seed}.json"
            key = key_of([NOTES[name], one.scores.tolist()], path)
            made = stored(file, key, partial(_forecast, one, path, known, seed))
            for metric, value in made.items():
                by_task = found.setdefault((name, known, one.hub, metric), {})
                by_task.setdefault(one.task.name, []).append(value)
    return found


def _forecast(one: Outside, path: Path | None, known: int, seed: int) -> dict[str, float]:
    surrogate = Surrogate() if path is None else Surrogate.load(path)
    order = np.random.default_rng(derived_seed(one.task.name, seed)).permutation(len(one.scores))
    seen, asked = np.sort(order[:known]), np.sort(order[known:])
    told = fitted(surrogate, one.inputs.rows(seen), one.scores[seen])
    believed = told.posterior(one.inputs.rows(asked))
    numbers = Trust.of(believed, one.scores[asked]).numbers(np.ones(len(asked), dtype=bool))
    return numbers | {TAU: kendall(believed.mean, one.scores[asked])}


def _setting(settings: argparse.Namespace, tasks: Sequence[Outside]) -> str:
    named = ", ".join(f"{one.hub}: {one.task.name}, {len(one.scores)} runs" for one in tasks)
    return f"logs of others, {settings.split} ({named}), {settings.seeds} seeds; weights absent"


def _rows(found: Found) -> Iterator[TableRow]:
    metrics = {percent(level): f"share within {percent(level)} intervals" for level in TOLD}
    metrics |= {"surprise": "log score, nats", TAU: TAU}
    for metric, label in metrics.items():
        for (name, known, hub, number), values in found.items():
            if number == metric:
                row = f"{hub}, {name}: {NOTES[name]}"
                yield clustered_row(row, hub, f"{known} runs", label, values)


def targets(found: Found) -> list[Target]:
    """Ours covers about what it says, on each log."""
    made = []
    for (name, known, hub, metric), values in found.items():
        if name == OURS and metric == percent(TOLD[1]):
            off = abs(clustered(values).value - TOLD[1])
            label = f"share within 90 % intervals off 0.9, at most, {hub} with {known} runs known"
            made.append(Target(label, SLACK, off, off <= SLACK))
    return made


if __name__ == "__main__":
    main()
