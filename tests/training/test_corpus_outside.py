"""Logs of others come into the corpus' schema with what they say and nothing else."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from fms_hub.corpus.schema import CandidateRow, Fault, Row, TaskRow
from fms_hub.corpus.shards import check_shards, read_shards
from fms_hub.corpus.tables import read_table
from training.corpus.outside import Imported, import_outside
from training.corpus.splits import Fold, Run, read_splits

SETTINGS = {
    "seed": 1, "model": "resnet50", "epochs": 50, "patience": 10, "dropout_p": 0.4, "optimizer": "AdamW",
    "scheduler": "cosine", "batch_size": 32, "input_size": 224, "mixup_alpha": None, "num_classes": 13,
    "dataset_name": "someone/aerial_real_only", "weight_decay": 0.14, "learning_rate": 4e-5,
    "training_mode": "sft",
    "label_smoothing": 0.2, "layers_to_unfreeze": ["layer3.", "layer4."],
}  # fmt: skip
"""As the logs of the aerial sweeps have them."""


def trial(
    name: str, steps: list[int], *, losses: list[float | None] | None = None, **changes: Any
) -> dict[str, Any]:
    """A trial in the layout of the AlgoPerf curves."""
    count = len(steps)
    return {
        "leaderboard": "algoperf_v05", "ruleset": "external_tuning", "submission": "amos", "study": "study_2",
        "workload": "imagenet_resnet", "framework": "jax", "trial": name,
        "hparams": {"l2": 0.01, "nesterov": True},
        "curve": {
            "global_step": steps,
            "train/loss": losses or [7.0 - i for i in range(count)],
            "validation/accuracy": [0.1 * (i + 1) for i in range(count)],
            "test/accuracy": [0.05 * (i + 1) for i in range(count)],
            "accumulated_submission_time": [10.0 + 60.0 * i for i in range(count)],
        },
    } | changes  # fmt: skip


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """A few trials, end points, curves and results in the layouts of their sources."""
    root = tmp_path / "tables"
    trials = [
        trial("trial_1", [1, 1000, 2010, 3010]),
        trial("trial_2", [1, 1000], hparams=None, workload="imagenet_vit"),
        trial("trial_3", [1, 1000, 2000], losses=[7.0, None, None]),
        trial("trial_4", [1]),
    ]
    write_lines(root / "algoperf" / "imagenet_curves.jsonl.gz", trials)
    point = {
        **SETTINGS,
        "_path": "a.json",
        "epoch": 46,
        "acc/val": 0.5,
        "loss/train": 0.9,
        "best_val_acc": 0.6,
    }
    write_lines(root / "aerial_sweeps" / "runs.jsonl.gz", [point])
    summary = {
        "script_args": {"epochs": 2, "dropout_p": 0.5, "scheduler": "cosine", "use_augmentation": True},
        "dataset": "someone/aerial_real_only",
        "seed": 42,
        "results_per_model": {
            "vit_b_16": {
                "val_acc_history": [0.2, 0.3], "train_loss_history": [2.0, 1.5], "lr_history": [1e-3, 5e-4],
            }
        },
    }  # fmt: skip
    (root / "aerial_sweeps" / "training_summary_one.json").write_text(json.dumps(summary))
    results = root / "timm_results"
    results.mkdir()
    (results / "results-imagenet.csv").write_text(
        "model,img_size,top1,param_count\n"
        'resnet50.a1_in1k,288,81.2,"1,025.56"\n'
        'resnet50.a1_in1k,224,80.2,"1,025.56"\n'
        "gone_net,224,70.0,3.5\n"
    )
    (results / "model_metadata-in1k.csv").write_text("model,pretrain\ngone_net,in1k-adv\n")
    return root


@pytest.fixture
def imported(tables: Path, tmp_path: Path) -> dict[str, Imported]:
    return import_outside(tables, tmp_path / "out")


def rows_of(out: Path, hub: str) -> list[Row]:
    frame = read_shards(out).query("hub == @hub").astype(object)
    return [Row(**row) for row in frame.where(frame.notna(), None).to_dict("records")]


def test_everything_is_counted_and_passes_the_schema(imported: dict[str, Imported], tmp_path: Path) -> None:
    assert imported["algoperf"] == Imported(3, 8, 2, {"never evaluated after it began": 1})
    assert imported["aerial_sweeps"] == Imported(2, 3, 2, {})
    assert imported["timm_results"] == Imported(0, 0, 2, {})
    assert check_shards(tmp_path / "out") == ()
    assert len(read_shards(tmp_path / "out")) == 11


def test_an_evaluation_is_an_epoch(imported: dict[str, Imported], tmp_path: Path) -> None:
    first = [row for row in rows_of(tmp_path / "out", "algoperf") if row.candidate.endswith("resnet")][:4]
    assert [(row.epoch, row.horizon) for row in first] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [row.validation_score for row in first] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert [row.train_loss for row in first] == [None, 6.0, 5.0, 4.0]
    assert [row.seconds for row in first] == [10.0, 60.0, 60.0, 60.0]
    assert [row.test_score for row in first] == [None, None, None, pytest.approx(0.2)]
    assert {(row.seed, row.sketch, row.device) for row in first} == {(2, None, "algoperf_v05 hardware")}
    values = json.loads(first[0].hyperparameters)
    assert values == {
        "l2": 0.01, "nesterov": True, "submission": "amos", "ruleset": "external_tuning", "framework": "jax",
        "evaluation_steps": 1000,
    }  # fmt: skip


def test_a_trial_ends_where_it_diverged(imported: dict[str, Imported], tmp_path: Path) -> None:
    failed = [row for row in rows_of(tmp_path / "out", "algoperf") if row.status == "failed"]
    assert [(row.epoch, row.reason, row.validation_score) for row in failed] == [(1, "diverged", None)]


def test_an_end_point_is_one_row_at_its_epoch(imported: dict[str, Imported], tmp_path: Path) -> None:
    point, *curve = rows_of(tmp_path / "out", "aerial")
    assert (point.epoch, point.horizon, point.validation_score) == (47, 50, 0.5)
    values = json.loads(point.hyperparameters)
    assert (values["optimizer"], values["dropout"], values["learning_rate"]) == ("adamw", 0.4, 4e-5)
    assert values["layers_to_unfreeze"] == "layer3. layer4."
    assert "mixup_alpha" not in values
    assert [(row.epoch, row.validation_score, row.train_loss) for row in curve] == [
        (1, 0.2, 2.0),
        (2, 0.3, 1.5),
    ]
    assert json.loads(curve[0].hyperparameters)["learning_rate"] == 1e-3


def test_results_become_candidates(imported: dict[str, Imported], tmp_path: Path) -> None:
    found = {row.name: row for row in read_table(tmp_path / "out", CandidateRow)}
    resnet, gone = found["timm/resnet50.a1_in1k"], found["timm/gone_net"]
    assert (resnet.family, resnet.source, resnet.accuracy, resnet.parameters) == (
        "resnet",
        "a1_in1k",
        0.802,
        1025560000,
    )
    assert (gone.family, gone.source) == ("unknown", "in1k-adv")
    assert found["algoperf/imagenet_vit"].family == "vision_transformer"


def test_every_log_has_a_licence_and_a_group(imported: dict[str, Imported], tmp_path: Path) -> None:
    there = read_table(tmp_path / "out", TaskRow)
    assert {(row.hub, row.name, row.licence) for row in there} == {
        ("algoperf", "imagenet1k", "Apache-2.0 (logs)"),
        ("aerial", "aerial_real_only", "MIT (logs)"),
    }
    splits = read_splits()
    assert all(splits.group[row.name] == row.group for row in there)
    families = {row.architecture: row.family for row in read_table(tmp_path / "out", CandidateRow)}
    assert all(
        splits.family[name] == families[name] for name in ("vit_b_16", "vit_small_patch16_224", "resnet50")
    )
    run = Run("imagenet1k", None, "vit_small_patch16_224")
    assert splits.part(Fold(frozenset({"insects"})), run) is None


def test_importing_again_changes_nothing(tables: Path, imported: dict[str, Imported], tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}
    assert import_outside(tables, tmp_path / "out") == imported
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.*")} == before


def test_a_source_that_is_absent_is_left_out(tables: Path, tmp_path: Path) -> None:
    (tables / "algoperf" / "imagenet_curves.jsonl.gz").rename(tmp_path / "kept")
    with pytest.raises(FileNotFoundError, match="imagenet_curves"):
        import_outside(tables, tmp_path / "out")
    (tables / "algoperf").rmdir()
    assert set(import_outside(tables, tmp_path / "out")) == {"aerial_sweeps", "timm_results"}
    with pytest.raises(FileNotFoundError, match="none of the folders"):
        import_outside(tmp_path / "out", tmp_path / "other")


def test_an_impossible_score_is_refused(tables: Path, tmp_path: Path) -> None:
    bad = trial("trial_1", [1, 1000])
    bad["curve"]["validation/accuracy"] = [0.1, 77.1]
    write_lines(tables / "algoperf" / "imagenet_curves.jsonl.gz", [bad])
    with pytest.raises(Fault, match="validation_score"):
        import_outside(tables, tmp_path / "out")
