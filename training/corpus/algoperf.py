"""The ImageNet trials of the AlgoPerf competitions: ResNet-50 and ViT from scratch, by 17 submissions.

An epoch of these rows is the interval between two evaluations, of about equal time and not of equal images;
``evaluation_steps`` among the hyperparameters is its median number of steps. A trial ends when it reaches the
competition's target or its budget, so the horizon is that of the longest trial of the same submission,
workload and framework. The training loss is that of the evaluation, on a part of the training images.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from fms_hub.corpus.schema import CandidateRow, Row
from training.corpus.log import Log, run_id, task_row

HUB = "algoperf"
TASK = "imagenet1k"
LICENCE = "Apache-2.0 (logs)"
_FILE = "imagenet_curves.jsonl.gz"
_ARCHITECTURES = {
    "imagenet_resnet": ("resnet50", "resnet"),
    "imagenet_resnet_large_bn_init": ("resnet50", "resnet"),
    "imagenet_resnet_silu": ("resnet50", "resnet"),
    "imagenet_vit": ("vit_small_patch16_224", "vision_transformer"),
}
"""Architecture and family of each workload."""

Trial = Mapping[str, Any]


def read_algoperf(folder: Path) -> Log:
    """Read all trials that were evaluated after they had begun.

    Raises:
        FileNotFoundError: the folder has no curves.
    """
    with gzip.open(folder / _FILE, "rt", encoding="utf-8") as file:
        trials: list[Trial] = [json.loads(line) for line in file]
    horizons: dict[tuple[str, ...], int] = defaultdict(int)
    for trial in trials:
        horizons[_kind(trial)] = max(horizons[_kind(trial)], len(trial["curve"]["global_step"]) - 1)
    evaluated = [trial for trial in trials if len(trial["curve"]["global_step"]) > 1]
    rows = [row for trial in evaluated for row in _rows(trial, horizons[_kind(trial)])]
    task = task_row(
        HUB,
        TASK,
        group="objects",
        classes=1000,
        image_size=224,
        licence=LICENCE,
        source="AlgoPerf, ILSVRC 2012",
    )
    names = sorted({trial["workload"] for trial in evaluated})
    left_out = Counter({"never evaluated after it began": len(trials) - len(evaluated)})
    return Log(rows, [task], [_candidate(name) for name in names], +left_out)


def _kind(trial: Trial) -> tuple[str, ...]:
    return tuple(trial[key] for key in ("leaderboard", "ruleset", "submission", "workload", "framework"))


def _rows(trial: Trial, horizon: int) -> Iterator[Row]:
    """The evaluations of one trial, the first, before any step counts, as epoch 0."""
    curve = trial["curve"]
    values = json.dumps(_hyperparameters(trial), sort_keys=True)
    times = curve["accumulated_submission_time"]
    for epoch in range(len(times)):
        loss = curve["train/loss"][epoch]
        ok = loss is not None
        yield Row(
            run=run_id(*_kind(trial), trial["study"], trial["trial"]),
            hub=HUB,
            task=TASK,
            candidate=_name(trial["workload"]),
            hyperparameters=values,
            epoch=epoch,
            horizon=horizon,
            seed=int(trial["study"].rpartition("_")[2]),
            train_loss=loss if epoch else None,
            validation_score=curve["validation/accuracy"][epoch] if ok else None,
            test_score=curve["test/accuracy"][epoch] if ok and epoch == horizon else None,
            seconds=times[epoch] - (times[epoch - 1] if epoch else 0.0),
            device=f"{trial['leaderboard']} hardware",
            status="ok" if ok else "failed",
            reason=None if ok else "diverged",
            sketch=None,
        )
        if not ok:
            return


def _hyperparameters(trial: Trial) -> dict[str, Any]:
    """What the trial was tuned by, and what else tells its training from others'."""
    steps: Sequence[float] = trial["curve"]["global_step"]
    return {
        **(trial["hparams"] or {}),
        "submission": trial["submission"],
        "ruleset": trial["ruleset"],
        "framework": trial["framework"],
        "evaluation_steps": median(after - before for before, after in pairwise(steps)),
    }


def _name(workload: str) -> str:
    return f"algoperf/{workload}"


def _candidate(workload: str) -> CandidateRow:
    architecture, family = _ARCHITECTURES[workload]
    return CandidateRow(_name(workload), architecture, family, "random", 0, None, None, LICENCE, False)
