"""Self-tuning against grid, random and Bayesian search at equal compute, and what its schedules are worth.

    python -m training.benchmarks.self_tuning --data DIR [--problem NAME] [--seeds 3] [--out DIR]
        [--json] [--quick]

Three problems: a small network on 2,000 images of CIFAR-10, a bundled candidate on 1,500 flowers, and a small
LSTM on the text of Python's standard library. Every search has the same processor seconds of one thread:
those of `RUNS` plain runs, timed first; and it begins at the default hyperparameters. It may use the
validation part as it likes; of the epoch with the lowest validation loss so far, test loss and accuracy are
reported.

Controls train plain networks: at the hyperparameters where a self-tuning run ended, at those perturbed as
widely as self-tuning begins to, and along the schedule that it took. Pictures show loss against seconds and
schedules from low, default and high starts; the table says how far apart the three still are in the end.
Expected hours are printed first. Resumable: finished searches in DIR are read back.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch

from fms_hub.corpus.wholefile import write_whole
from fms_hub.finetune.self_tuning.hyperparameters import SPREAD
from training.benchmarks.online.images import Cifar, Flowers
from training.benchmarks.online.problem import Problem
from training.benchmarks.online.searches import SEARCHES, started_at
from training.benchmarks.online.telling import (
    apart,
    best_so_far,
    less,
    losses,
    rows_of,
    schedules,
    table,
)
from training.benchmarks.online.text import Text
from training.benchmarks.online.training import (
    Clock,
    Point,
    Run,
    constant,
    replayed,
    train_fixed,
    train_tuned,
)

RUNS, QUICK_RUNS = 8, 3
"""Plain runs whose processor time every search has."""
STARTS: Mapping[str, float | None] = {"low": 0.02, "default": None, "high": 0.6}
TUNED = "self-tuning"
CONTROLS = (TUNED, "final value", "perturbed final value", "schedule")
SLOWER = 2.4
"""About how many plain runs' time a self-tuning run takes."""
PROBLEMS = ("cifar10", "flowers5", "text")


def opened(name: str, data: Path, *, quick: bool) -> Problem:
    """The problem of that name; a quick one has two epochs of few examples."""
    problem: Problem
    match name:
        case "cifar10":
            problem = Cifar(data, quick=quick)
        case "flowers5":
            problem = Flowers(data, quick=quick)
        case _:
            problem = Text(quick=quick)
    if quick:
        problem.epochs = 2
    return problem


def plain_seconds(problem: Problem) -> float:
    """Processor seconds of one plain run at the default hyperparameters."""
    clock = Clock()
    train_fixed(problem, constant(problem.defaults()), 0, clock, math.inf)
    return clock.spent


def from_starts(problem: Problem, seed: int) -> dict[str, Run]:
    """Self-tuning runs of one seed from three starts."""
    return {
        name: train_tuned(
            problem,
            problem.tunables if share is None else started_at(problem, share),
            seed,
            Clock(),
            math.inf,
        )
        for name, share in STARTS.items()
    }


def controls(problem: Problem, tuned: Run, seed: int) -> dict[str, Run]:
    """Plain runs at what a self-tuning run found."""
    final = constant(tuned.schedule[-1])
    return {
        "final value": train_fixed(problem, final, seed, Clock(), math.inf),
        "perturbed final value": train_fixed(problem, final, seed, Clock(), math.inf, spread=SPREAD),
        "schedule": train_fixed(problem, replayed(tuned.schedule), seed, Clock(), math.inf),
    }


def kept(path: Path, make: Callable[[], Mapping[str, Run]]) -> dict[str, Run]:
    """What the file holds, made and written first if it is absent."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({name: asdict(run) for name, run in make().items()}).encode())
    return {
        name: Run([Point(**point) for point in run["points"]], run["schedule"])
        for name, run in json.loads(path.read_bytes()).items()
    }


def seconds_of(path: Path, problem: Problem) -> float:
    """The seconds of one plain run, timed once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(plain_seconds(problem)).encode())
    return float(json.loads(path.read_bytes()))


def expected_hours(seconds: float, out: Path, seeds: int, runs: int) -> float:
    """About how long what is not stored yet will take on one core.

    Args:
        seconds: of one plain run.
        out: folder of the results.
        seeds: how many searches of each kind.
        runs: plain runs whose processor time each has.
    """
    parts = {name: float(runs) for name in SEARCHES}
    parts |= {"starts": SLOWER * len(STARTS), "controls": len(CONTROLS) - 1.0}
    missing = sum(
        length
        for seed in range(seeds)
        for name, length in parts.items()
        if not _stored(out, name, seed).exists()
    )
    return missing * seconds / 3600


def benchmark(problem: Problem, out: Path, seeds: int, runs: int) -> list[dict[str, object]]:
    """Run or read back everything of a problem, draw its pictures, and return its rows.

    Args:
        problem: what to train.
        out: folder of the results.
        seeds: how many searches of each kind.
        runs: plain runs whose processor time each has.
    """
    plain = seconds_of(out / "seconds.json", problem)
    seconds = runs * plain
    hours = expected_hours(plain, out, seeds, runs)
    print(f"{problem.name}: about {hours:.2f} hours for what is not stored yet", file=sys.stderr, flush=True)
    found: dict[str, list[list[Point]]] = {name: [] for name in SEARCHES}
    controlled: dict[str, list[list[Point]]] = {name: [] for name in CONTROLS}
    started: list[dict[str, Run]] = []
    for seed in range(seeds):
        for name, search in SEARCHES.items():
            trained = kept(
                _stored(out, name, seed),
                lambda search=search, seed=seed: {  # type: ignore[misc]
                    str(number): run for number, run in enumerate(search(problem, seed, seconds))
                },
            )
            found[name].append(best_so_far(trained.values()))
        starts = kept(_stored(out, "starts", seed), lambda seed=seed: from_starts(problem, seed))  # type: ignore[misc]
        started.append(starts)
        more = kept(
            _stored(out, "controls", seed),
            lambda seed=seed, tuned=starts["default"]: controls(problem, tuned, seed),  # type: ignore[misc]
        )
        for name, run in {TUNED: starts["default"], **more}.items():
            controlled[name].append(best_so_far([run]))
        write_whole(out / f"schedules-{seed}.svg", schedules(problem, starts).encode())
    write_whole(out / "losses.svg", losses(problem, found).encode())
    kinds = {
        "search": [*rows_of(found), *less(found, TUNED)],
        "control": [*rows_of(controlled), *less(controlled, TUNED)],
        "start": apart(problem, started),
    }
    return [{"problem": problem.name, "kind": kind, **row} for kind, rows in kinds.items() for row in rows]


def _stored(out: Path, name: str, seed: int) -> Path:
    return out / f"{name}-{seed}.json"


def main() -> None:
    """Run or read back every search of the problems asked for; print the table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m training.benchmarks.self_tuning")
    parser.add_argument("--data", type=Path, required=True, help="folder of the dataset .npz files")
    parser.add_argument("--problem", choices=PROBLEMS, action="append")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/self_tuning"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    folder = arguments.out / "quick" if arguments.quick else arguments.out
    runs = QUICK_RUNS if arguments.quick else RUNS
    rows = []
    for name in arguments.problem or PROBLEMS:
        problem = opened(name, arguments.data, quick=arguments.quick)
        rows += benchmark(problem, folder / name, 1 if arguments.quick else arguments.seeds, runs)
    setting = f"{runs} plain runs' processor time a search"
    if arguments.json:
        print(json.dumps({"benchmark": "self_tuning", "setting": setting, "rows": rows}))
    else:
        print(f"{setting}\n\n{table(rows)}")


if __name__ == "__main__":
    main()
