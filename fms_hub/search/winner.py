"""The winner of a search: found among its epochs, and scored once on images that nobody chose by."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fms_hub.errors import SearchError
from fms_hub.finetune.trainer import Trainer
from fms_hub.records import Candidate, Value
from fms_hub.search.selector import Selector

RESULT = "selection.json"


@dataclass(frozen=True)
class Best:
    """The winner of a search.

    Attributes:
        candidate, hyperparameters: of the winning run.
        score: its best validation score, in [0, 1].
        test_score: score on the held-out test split, computed once, for the winner only.
        epochs: after how many epochs the score was reached.
        run: number of the run.
        checkpoint: folder of its checkpoint, below the search's folder.
    """

    candidate: str
    hyperparameters: Mapping[str, Value]
    score: float
    test_score: float
    epochs: int
    run: int
    checkpoint: str


def conclude(selector: Selector, out: Path, trainer: Trainer, candidates: Sequence[Candidate]) -> Best:
    """Score the winner on the test split, once: a result already on disk for this winner is read back.

    Raises:
        SearchError: no epoch of any run went well.
    """
    winner, history = next(iter(selector.front), None), selector.history
    if winner is None or winner.score is None or winner.checkpoint is None:
        reasons = sorted({o.reason or "unknown" for o in history})
        raise SearchError(
            f"all {len(history)} epochs failed ({', '.join(reasons)}); see {out}. "
            "Narrow the search space (lower learning rates, smaller batches) or try other candidates."
        )
    known = _read_result(out / RESULT)
    if known is not None and (known.run, known.epochs) == (winner.run, winner.epoch):
        return known
    candidate = next(c for c in candidates if c.name == winner.candidate)
    test_score = trainer.test(candidate, winner.hyperparameters, out / winner.checkpoint)
    best = Best(
        candidate=winner.candidate,
        hyperparameters=winner.hyperparameters,
        score=winner.score,
        test_score=test_score,
        epochs=winner.epoch,
        run=winner.run,
        checkpoint=winner.checkpoint,
    )
    partial = out / f"{RESULT}.partial"
    partial.write_text(json.dumps(dataclasses.asdict(best), indent=2))
    partial.replace(out / RESULT)
    return best


def _read_result(path: Path) -> Best | None:
    return Best(**json.loads(path.read_text())) if path.exists() else None
