"""timm's own results: candidates with their parameters and ImageNet accuracy, no runs."""

from __future__ import annotations

import csv
from pathlib import Path

from timm.models import is_model, model_entrypoint

from fms_hub.corpus.schema import CandidateRow
from training.corpus.log import Log

_RESULTS, _METADATA = "results-imagenet.csv", "model_metadata-in1k.csv"
LICENCE = "Apache-2.0 (results); weights: ImageNet terms"


def read_timm_results(folder: Path) -> Log:
    """Read one candidate for each checkpoint, with the accuracy at the smallest size it was tested at.

    Its source is the tag of its weights, e.g. ``in12k_ft_in1k``, or what the metadata say of one
    without a tag.

    Raises:
        FileNotFoundError: the folder has no results.
    """
    with (folder / _METADATA).open(newline="", encoding="utf-8") as file:
        pretraining = {row["model"]: row["pretrain"] for row in csv.DictReader(file)}
    with (folder / _RESULTS).open(newline="", encoding="utf-8") as file:
        results = sorted(csv.DictReader(file), key=lambda row: (row["model"], int(row["img_size"])))
    smallest = {row["model"]: row for row in reversed(results)}
    return Log(candidates=[_candidate(row, pretraining) for row in smallest.values()])


def _candidate(row: dict[str, str], pretraining: dict[str, str]) -> CandidateRow:
    architecture, _, tag = row["model"].partition(".")
    known = is_model(architecture)
    return CandidateRow(
        name=f"timm/{row['model']}",
        architecture=architecture,
        family=model_entrypoint(architecture).__module__.rpartition(".")[2] if known else "unknown",
        source=tag or pretraining.get(row["model"], "unknown"),
        epochs=None,
        accuracy=round(float(row["top1"]) / 100, 5),
        parameters=round(float(row["param_count"].replace(",", "")) * 1e6),
        licence=LICENCE,
        research_only=True,
    )
