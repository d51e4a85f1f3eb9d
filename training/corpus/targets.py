"""What the corpus is meant to hold, and what of it is not there yet, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from training.corpus.holdings import MEGABYTE, Holdings, beats_linear_probe, configurations, noise
from training.corpus.splits import read_splits
from training.corpus.tasks import dataset

SMALL, TINY = "small-cnn", "timm-tiny"
EPOCHS = 12
"""A run counts towards the targets if it was planned for at least so many epochs."""
REPEATED = 0.05
BEST = 3
"""So many of the best configurations of each task are to have as many seeds."""
BEATEN = 0.3
PIXELS = 32
MEGABYTES = 40


@dataclass(frozen=True)
class HubTargets:
    """Least numbers of one hub, and the epochs after which weights are sketched besides the last."""

    runs: int
    tasks: int
    sketched: frozenset[int]


HUBS = {
    SMALL: HubTargets(2500, 4, frozenset({0, 1, 2, 4, 8})),
    TINY: HubTargets(2400, 10, frozenset({1, 4})),
}
RAW_RUNS, RAW_CHECKPOINTS = 300, 3
ARCHITECTURES, FAMILIES, SOURCES, CHECKPOINTS, HORIZONS = 12, 8, 3, 40, 2
CELL_RUNS, CELL_SHARE = 6, 0.5


def missing(holdings: Holdings) -> list[str]:
    """Every target that is not met yet, in words; empty if nothing is missing."""
    found = [f"{refused.name} is refused: {refused.why}" for refused in holdings.refused]
    for hub in HUBS:
        found += _of_hub(holdings, hub)
    found += _of_small(holdings)
    found += _of_tiny(holdings)
    if holdings.size > MEGABYTES * MEGABYTE:
        found.append(f"size: {holdings.size / MEGABYTE:.1f} MB, at most {MEGABYTES} wanted")
    return found


def _of_hub(holdings: Holdings, hub: str) -> Iterator[str]:
    target, runs = HUBS[hub], holdings.hub(hub)
    long = runs[runs.horizon >= EPOCHS]
    yield from _fewer(f"{hub}: runs of {EPOCHS} epochs or more", len(long), target.runs)
    yield from _fewer(f"{hub}: tasks", long.task.nunique(), target.tasks)
    finished = runs[runs.final.notna()]
    lacking = [
        run
        for run, horizon, sketched in zip(finished.run, finished.horizon, finished.sketched, strict=True)
        if not {epoch for epoch in target.sketched if epoch < horizon} | {horizon} <= sketched
    ]
    if lacking:
        epochs = ", ".join(str(epoch) for epoch in sorted(target.sketched))
        yield f"{hub}: sketches at {epochs} and last of {len(lacking)} runs, {lacking[0]} first"
    share = noise(runs).repeated
    if share < REPEATED:
        yield f"{hub}: {share:.1%} of the configurations repeated with another seed, {REPEATED:.0%} wanted"
    named = {task.name for task in holdings.tasks if task.hub == hub}
    yield from _unknown(f"{hub}: rows of tasks", set(runs.task) - named)
    yield from _unknown(f"{hub}: rows of candidates", set(runs.candidate) - holdings.candidates.keys())


def _of_small(holdings: Holdings) -> Iterator[str]:
    known = set(holdings.hub(SMALL).run)
    kept = sum(count >= RAW_CHECKPOINTS for run, count in holdings.raw.items() if run in known)
    yield from _fewer(f"{SMALL}: runs with the weights of {RAW_CHECKPOINTS} checkpoints", kept, RAW_RUNS)


def _of_tiny(holdings: Holdings) -> Iterator[str]:
    runs = holdings.hub(TINY)
    used = [holdings.candidates[name] for name in runs.candidate.unique() if name in holdings.candidates]
    yield from _fewer(f"{TINY}: architectures", len({row.architecture for row in used}), ARCHITECTURES)
    yield from _fewer(f"{TINY}: families", len({row.family for row in used}), FAMILIES)
    sources = {row.source for row in used} - {"random"}
    yield from _fewer(f"{TINY}: pretraining sources", len(sources), SOURCES)
    yield from _fewer(f"{TINY}: checkpoints", runs.candidate.nunique(), CHECKPOINTS)
    yield from _fewer(f"{TINY}: horizons", runs.horizon.nunique(), HORIZONS)
    once = runs.assign(key=configurations(runs)).drop_duplicates("key") if len(runs) else runs
    cells = once.groupby(["task", "candidate"]).size()
    share = float((cells >= CELL_RUNS).mean()) if len(cells) else 0.0
    if share < CELL_SHARE:
        yield f"{TINY}: {share:.0%} of the cells have {CELL_RUNS} configurations, {CELL_SHARE:.0%} wanted"
    yield from _best_repeated(runs)
    yield from _leaks(holdings, runs)
    small = {t.name for t in holdings.tasks if t.hub == TINY and (t.image_size or PIXELS) < PIXELS}
    yield from _unknown(f"{TINY}: images of {PIXELS} pixels", small)
    beaten = beats_linear_probe(runs, holdings.probes)
    if beaten is None:
        yield f"{TINY}: linear probes to compare with"
    elif beaten < BEATEN:
        yield f"{TINY}: {beaten:.0%} of the runs beat a linear probe of their candidate, {BEATEN:.0%} wanted"


def _best_repeated(runs: pd.DataFrame) -> Iterator[str]:
    finished = runs[runs.final.notna()]
    if finished.empty:
        return
    keyed = finished.assign(key=configurations(finished))
    seeds = keyed.groupby("key").seed.nunique()
    for task, part in keyed.sort_values(["seed", "run"]).drop_duplicates("key").groupby("task"):
        best = part.nlargest(BEST, "final").key
        lacking = int((seeds[best] < BEST).sum())
        if lacking:
            yield f"{TINY}: {BEST} seeds of {lacking} of the best {BEST} configurations of {task}"


def _leaks(holdings: Holdings, runs: pd.DataFrame) -> Iterator[str]:
    splits = read_splits()
    sources = {row.name: row.source for row in holdings.candidates.values()}
    seen = {
        f"{candidate} on {task}"
        for task, candidate in set(zip(runs.task, runs.candidate, strict=True))
        if splits.leaks(sources.get(candidate), dataset(task))
    }
    yield from _unknown(f"{TINY}: other candidates than those that saw the task's images:", seen)


def _fewer(what: str, found: int, wanted: int) -> Iterator[str]:
    if found < wanted:
        yield f"{what}: {found:,} of {wanted:,}"


def _unknown(what: str, names: set[str]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - 4} more" if len(names) > 4 else ""
        yield f"{what} for {', '.join(sorted(names)[:4])}{more}"
