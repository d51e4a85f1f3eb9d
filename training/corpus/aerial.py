"""Fine-tuning sweeps of others on aerial images: end points of 375 runs and curves of 35.

Of an end point only the last epoch is known: one row, at that epoch. It may come before the horizon, because
these runs stop early.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fms_hub.corpus.schema import CandidateRow, Row
from training.corpus.log import Log, run_id, task_row

HUB = "aerial"
LICENCE = "MIT (logs)"
_FILE = "runs.jsonl.gz"
_FAMILIES = {
    "resnet50": "resnet",
    "mobilenet_v2": "efficientnet",
    "efficientnet_b2": "efficientnet",
    "efficientnetv2_m": "efficientnet",
    "vit_b_16": "vision_transformer",
}
"""Module of timm that defines each of torchvision's architectures."""
_RENAMED = {
    "optimizer": "optimizer", "learning_rate": "learning_rate", "weight_decay": "weight_decay",
    "batch_size": "batch_size", "label_smoothing": "label_smoothing", "dropout_p": "dropout",
    "scheduler": "scheduler", "training_mode": "training_mode", "mixup_alpha": "mixup_alpha",
    "cutmix_alpha": "cutmix_alpha", "cutmix_or_mixup": "cutmix_or_mixup", "augment_level": "augment_level",
    "patience": "patience", "input_size": "input_size", "calc_dataset_stats": "calc_dataset_stats",
    "use_augmentation": "use_augmentation", "unfreeze_layers": "unfreeze_layers",
    "use_mixed_precision": "use_mixed_precision",
}  # fmt: skip
"""Names of the logs' settings, and what the corpus calls them."""


def read_aerial(folder: Path) -> Log:
    """Read end points and curves.

    Raises:
        FileNotFoundError: the folder has no end points.
    """
    with gzip.open(folder / _FILE, "rt", encoding="utf-8") as file:
        points = [json.loads(line) for line in file]
    rows = [_end_point(point) for point in points]
    classes = {point["dataset_name"]: int(point["num_classes"]) for point in points}
    for path in sorted(folder.glob("training_summary_*.json")):
        rows += _curves(path)
    tasks = [
        task_row(
            HUB,
            _task(name),
            group="aerial",
            classes=count,
            image_size=224,
            licence=LICENCE,
            source=f"aerial: {name}",
        )
        for name, count in sorted(classes.items())
    ]
    return Log(rows, tasks, [_candidate(name) for name in sorted({row.candidate for row in rows})])


def _end_point(point: Mapping[str, Any]) -> Row:
    return _row(
        run_id(HUB, point["_path"]),
        _task(point["dataset_name"]),
        point["model"],
        _hyperparameters(point),
        epoch=int(point["epoch"]) + 1,
        horizon=int(point["epochs"]),
        seed=int(point["seed"]),
        loss=float(point["loss/train"]),
        score=float(point["acc/val"]),
    )


def _curves(path: Path) -> Iterator[Row]:
    summary = json.loads(path.read_text(encoding="utf-8"))
    settings = summary["script_args"]
    for model, result in summary["results_per_model"].items():
        values = _hyperparameters(settings | {"learning_rate": result["lr_history"][0]})
        history = zip(result["train_loss_history"], result["val_acc_history"], strict=True)
        for epoch, (loss, score) in enumerate(history, start=1):
            yield _row(
                run_id(HUB, path.name, model),
                _task(summary["dataset"]),
                model,
                values,
                epoch=epoch,
                horizon=int(settings["epochs"]),
                seed=int(summary["seed"]),
                loss=loss,
                score=score,
            )


def _row(
    run: str,
    task: str,
    model: str,
    hyperparameters: Mapping[str, Any],
    *,
    epoch: int,
    horizon: int,
    seed: int,
    loss: float,
    score: float,
) -> Row:
    return Row(
        run=run,
        hub=HUB,
        task=task,
        candidate=f"torchvision/{model}",
        hyperparameters=json.dumps(hyperparameters, sort_keys=True),
        epoch=epoch,
        horizon=horizon,
        seed=seed,
        train_loss=loss,
        validation_score=score,
        test_score=None,
        seconds=None,
        device="cuda",
        status="ok",
        reason=None,
        sketch=None,
    )


def _hyperparameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    found = {new: settings[old] for old, new in _RENAMED.items() if settings.get(old) is not None}
    if "optimizer" in found:
        found["optimizer"] = str(found["optimizer"]).lower()
    if "layers_to_unfreeze" in settings:
        found["layers_to_unfreeze"] = " ".join(settings["layers_to_unfreeze"])
    return found


def _task(dataset: str) -> str:
    return dataset.rpartition("/")[2]


def _candidate(name: str) -> CandidateRow:
    model = name.partition("/")[2]
    return CandidateRow(
        name=name,
        architecture=model,
        family=_FAMILIES[model],
        source="imagenet1k",
        epochs=None,
        accuracy=None,
        parameters=None,
        licence="ImageNet terms",
        research_only=True,
    )
