"""Which checkpoints of a search stay on disk: the last of each run, and the best of all."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fms_hub.errors import OutputError
from fms_hub.records import Observation, Proposal

FOLDER = "checkpoints"


def checkpoint_name(run: int, epoch: int) -> str:
    """Name of a checkpoint below the search's folder."""
    return f"{FOLDER}/r{run:04d}-e{epoch:03d}"


def before(proposal: Proposal) -> str | None:
    """Name of the checkpoint that the proposed epoch goes on from; None for the candidate's own weights."""
    previous = proposal.previous
    return None if previous is None else checkpoint_name(previous.run, previous.epoch)


def best_of(history: Sequence[Observation]) -> Observation | None:
    """The observation with the highest score, the earliest of equals; None if no epoch went well."""
    scored = [o for o in history if o.score is not None]
    return max(scored, key=lambda o: o.score or 0.0) if scored else None


@dataclass(frozen=True)
class Kept:
    """What stays on disk.

    Attributes:
        checkpoints: names to keep.
        stopped: runs that cannot go on, because their last checkpoint is not kept.
        coming: names under which something is being written.
    """

    checkpoints: frozenset[str]
    stopped: frozenset[int]
    coming: frozenset[str] = frozenset()


def kept(
    history: Sequence[Observation],
    limit: int | None,
    front: Sequence[Observation],
    out: Sequence[Proposal] = (),
) -> Kept:
    """Choose the checkpoints to keep.

    Args:
        history: of the search.
        limit: most checkpoints besides the best ones; those with the lowest last scores go. None
            keeps the last of each run.
        front: the best ones, see `fms_hub.search.tradeoff.front_of`.
        out: what is being trained; what it goes on from stays.
    """
    last = {o.run: o for o in history if o.checkpoint is not None and o.score is not None}
    ranked = sorted(last.values(), key=lambda o: (-(o.score or 0.0), o.run))
    staying = ranked if limit is None else ranked[:limit]
    names = {o.checkpoint for o in [*staying, *front] if o.checkpoint is not None}
    names |= {name for proposal in out if (name := before(proposal)) is not None}
    stopped = frozenset(o.run for o in ranked if o.checkpoint not in names)
    return Kept(frozenset(names), stopped, frozenset(checkpoint_name(p.run, p.epoch) for p in out))


def clear(folder: Path, keep: Kept) -> None:
    """Remove every checkpoint below the search's folder that is not kept.

    Half-written ones, too, but for those that are being written now.
    """
    shelf = folder / FOLDER
    for path in shelf.iterdir() if shelf.exists() else ():
        finished = path.name.lstrip(".").split(".")[0]
        if f"{FOLDER}/{path.name}" not in keep.checkpoints and f"{FOLDER}/{finished}" not in keep.coming:
            shutil.rmtree(path, ignore_errors=True)


def check_space(folder: Path, checkpoint_bytes: int, checkpoints: int) -> None:
    """Refuse a search whose checkpoints cannot fit the disk.

    Args:
        folder: of the search; must exist.
        checkpoint_bytes: of the largest candidate.
        checkpoints: most that will be kept at once.

    Raises:
        OutputError: less is free than they need, with the number that would fit.
    """
    free = shutil.disk_usage(folder).free
    if checkpoint_bytes * checkpoints <= free:
        return
    fitting = max(free // checkpoint_bytes - 2, 0)
    advice = f"pass keep_checkpoints={fitting}, or " if fitting > 0 else ""
    raise OutputError(
        f"up to {checkpoints} checkpoints of {checkpoint_bytes / 1e6:.0f} MB each need "
        f"{checkpoints * checkpoint_bytes / 1e9:.1f} GB, but {folder} has {free / 1e9:.1f} GB free; "
        f"{advice}choose another out= or a smaller budget."
    )
