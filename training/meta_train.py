"""Meta-train surrogates on a corpus: one on all of it, or one for each group of tasks that it never sees.

    python -m training.meta_train --hub DIR ... --out DIR [--held-out [--split meta-validation|meta-test]]
        [--name NAME] [--steps N] [--seed N] [--time-limit 60m]

Each DIR of --hub holds the shards of one hub, e.g. of timm-tiny, and those of accepted contributions. Written
are ``all.safetensors``, or with --held-out ``without-GROUP.safetensors`` for every fold of
`training.corpus.splits`, or of one split, which the benchmarks judge on GROUP, and a JSON beside each that
says how it came about; ``forests/`` keeps what several of them have in common, and what a stopped command got
done. NAME is what the one on all of it is called in logs and cards. A surrogate that is there already is left
as it is, so that a command that was stopped goes on, and one that another process is at is left to it; one
that was made from other runs or settings is refused.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from filelock import FileLock, Timeout
from tqdm import tqdm

from fms_hub.corpus import manifest
from fms_hub.errors import FMSHubError, UsageError
from fms_hub.records import Budget
from training.benchmarks.cached.folds import Split, belonging, split_of
from training.benchmarks.cached.pool import Pool
from training.benchmarks.cached.start import hub_pools
from training.corpus.splits import Splits, read_splits
from training.corpus.tasks import dataset
from training.meta.fitting import Fitted, fit
from training.meta.shelf import Shelf
from training.meta.train import Settings

ALL = "all"


@dataclass(frozen=True)
class Job:
    """A surrogate to be made: its name and what it learns from."""

    name: str
    pools: tuple[Pool, ...]


def jobs(
    found: Mapping[str, Pool], splits: Splits, *, leave_out: bool, split: Split | None = None
) -> Iterator[Job]:
    """One for everything, or one for each fold, of one split or any, that has a task to be judged on."""
    if not leave_out:
        yield Job(ALL, tuple(found.values()))
        return
    for fold in splits.folds():
        if split in (None, split_of(fold)) and belonging(found, splits, fold, "test"):
            yield Job(file_name(fold.groups), tuple(belonging(found, splits, fold, "train").values()))


def together(folders: Sequence[Path]) -> dict[str, Pool]:
    """The pools of several folders by task.

    Raises:
        UsageError: a task is in two of them.
    """
    found: dict[str, Pool] = {}
    for folder in folders:
        more = hub_pools(folder)
        twice = sorted(found.keys() & more.keys())
        if twice:
            raise UsageError(f"{folder} has the task {twice[0]}, and so has a folder before it.")
        found |= more
    return found


def file_name(groups: frozenset[str]) -> str:
    """Of the surrogate that never saw these groups, without ending."""
    return "without-" + "-".join(sorted(groups)).replace(" ", "_")


def surrogate_of(folder: Path | None, groups: frozenset[str]) -> Path | None:
    """The file of the surrogate that never saw these groups; None if there is none."""
    path = None if folder is None else folder / f"{file_name(groups)}.safetensors"
    return path if path is not None and path.exists() else None


def surrogate_without(folder: Path, dataset: str) -> Path:
    """The file of the surrogate that never saw a dataset's group.

    Raises:
        UsageError: the dataset is in no group, or there is no such file.
    """
    splits = read_splits()
    fold = next((fold for fold in splits.folds() if splits.group.get(dataset) in fold.groups), None)
    if fold is None:
        raise UsageError(f"{dataset} is in no group of training/corpus/splits.json.")
    path = surrogate_of(folder, fold.groups)
    if path is None:
        raise UsageError(
            f"{folder} has no {file_name(fold.groups)}.safetensors for {dataset}; make it with "
            f"`python -m training.meta_train --held-out --out {folder}`."
        )
    return path


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m training.meta_train")
    parser.add_argument("--hub", type=Path, nargs="+", required=True, help="folders of one hub's shards each")
    parser.add_argument("--out", type=Path, required=True, help="folder of the surrogates")
    parser.add_argument("--held-out", action="store_true", help="one for each group of tasks, without it")
    parser.add_argument("--split", choices=get_args(Split), help="of the groups to hold out; default: all")
    parser.add_argument("--name", default=ALL, help="of the surrogate on all of it, in logs and cards")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="of the process' parameters")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--time-limit", default="8h")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        _run(arguments)
    except FMSHubError as error:
        parser.exit(1, f"{error}\n")


def _run(arguments: argparse.Namespace) -> None:
    deadline = time.monotonic() + (Budget.parse(arguments.time_limit).seconds or 0.0)
    settings = Settings(steps=arguments.steps, seed=arguments.seed)
    found = together(arguments.hub)
    corpus = {folder.name: manifest.digest(manifest.read(folder)[0]) for folder in arguments.hub}
    arguments.out.mkdir(parents=True, exist_ok=True)
    wanted = {
        arguments.out / f"{job.name}.safetensors": job
        for job in jobs(found, read_splits(), leave_out=arguments.held_out, split=arguments.split)
    }
    for path in filter(Path.exists, wanted):
        _require_same(path, _origin(settings, corpus))
    for path, job in wanted.items():
        with suppress(Timeout), FileLock(path.with_suffix(".lock"), timeout=0):
            if path.exists():
                continue
            if time.monotonic() > deadline:
                print(f"the time is up before {job.name}; run the same command again to go on")
                return
            _make(path, job, arguments.name if job.name == ALL else job.name, settings, corpus)


def _make(path: Path, job: Job, name: str, settings: Settings, corpus: Mapping[str, str]) -> None:
    started = time.perf_counter()
    with tqdm(desc=job.name, unit="step") as bar:
        made = _fit(job, name, settings, bar, Shelf(path.parent / "forests"))
    _write(path, made, job, settings, corpus, time.perf_counter() - started)
    widening, lean = (
        ", ".join(f"{name} {number:.2f}" for name, number in asdict(by_stage).items())
        for by_stage in (made.learned.widening, made.learned.lean)
    )
    print(f"{path}: deviations of runs times {widening}; lean {lean}")


def _origin(settings: Settings, corpus: Mapping[str, str]) -> dict[str, Any]:
    """What decides how a surrogate comes out, besides its job."""
    return {"corpus": dict(corpus), **asdict(settings)}


def _require_same(path: Path, origin: Mapping[str, Any]) -> None:
    beside = path.with_suffix(".json")
    told = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}
    other = [name for name, value in origin.items() if told.get(name) != value]
    if other:
        raise UsageError(
            f"{path} is there already, and was made with another {', '.join(other)}; remove it, or name "
            "another folder with --out."
        )


def _fit(job: Job, name: str, settings: Settings, bar: tqdm, shelf: Shelf) -> Fitted:
    reached: dict[str, int] = {}

    def report(stage: str, step: int, loss: float) -> None:
        bar.set_postfix(stage=stage, step=step, loss=f"{loss:.3f}", refresh=False)
        bar.update(step - reached.get(stage, 0))
        reached[stage] = step

    return fit(name, job.pools, read_splits(), settings, report, shelf)


def _write(
    path: Path, made: Fitted, job: Job, settings: Settings, corpus: Mapping[str, str], seconds: float
) -> None:
    sources = [row for pool in job.pools for row in pool.candidates.values() if row.source != "random"]
    report = {
        "name": made.name,
        "hub": ", ".join(sorted({pool.hub for pool in job.pools})),
        "tasks": [pool.task.name for pool in job.pools],
        "runs": sum(len(pool.runs) for pool in job.pools),
        **_origin(settings, corpus),
        "data": {dataset(pool.task.name): pool.task.licence for pool in job.pools},
        "pretraining": {row.source: row.licence for row in sources},
        "widening": asdict(made.learned.widening),
        "lean": asdict(made.learned.lean),
        "covered_before_widening": dict(made.off),
        "foresight_error": dict(made.error),
        "seconds": seconds,
    }
    path.with_suffix(".json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    made.surrogate.save(path)


if __name__ == "__main__":
    main()
