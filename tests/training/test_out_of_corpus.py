"""Logs of others as questions without weights, and the table of how well they are foreseen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fms_hub.corpus.schema import CandidateRow, Row, TaskRow
from fms_hub.corpus.shards import write_shard
from fms_hub.corpus.tables import add_rows
from fms_hub.errors import UsageError
from tests.taught import surrogate
from training.benchmarks import out_of_corpus
from training.benchmarks.cached.outside import FULL_RUN, Outside, read_outside
from training.benchmarks.out_of_corpus import OURS, targets
from training.corpus.log import task_row

RUNS = 30
RESNET = CandidateRow(
    "torchvision/resnet50", "resnet50", "resnet", "imagenet1k", None, None, None, "MIT", True
)


def end_point(number: int, **changes: object) -> Row:
    """A run of which the last of three epochs is known; its score rises with the learning rate."""
    rate = 10 ** (-4 + number / 10)
    values = {"learning_rate": rate, "optimizer": "adam", "patience": 7, "cutmix_or_mixup": "mixup"}
    row = Row(
        run=f"{number:016x}", hub="aerial", task="aerial_real_only", candidate=RESNET.name,
        hyperparameters=json.dumps(values), epoch=3, horizon=50, seed=0, train_loss=1.0,
        validation_score=0.2 + 0.02 * number, test_score=None, seconds=None, device="cuda", status="ok",
        reason=None, sketch=None,
    )  # fmt: skip
    return replace(row, **changes)  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty end points, a run with a curve, one that failed, and two of timm's results."""
    rows = [end_point(number) for number in range(RUNS)]
    rows += [end_point(40, epoch=epoch, validation_score=0.1 * epoch) for epoch in (1, 2, 3, 4)]
    rows += [end_point(41, status="failed", reason="diverged", validation_score=None, train_loss=None)]
    task = task_row(
        "aerial", "aerial_real_only", group="aerial", classes=5, image_size=224, licence="", source=""
    )
    timm = [
        CandidateRow(f"timm/net{n}", "net", "resnet", "in1k", None, 0.7 + n / 10, 10**7, "x", True)
        for n in range(2)
    ]
    write_shard(tmp_path, rows, {})
    add_rows(tmp_path, TaskRow, [task])
    add_rows(tmp_path, CandidateRow, [RESNET, *timm])
    return tmp_path


@pytest.fixture
def read(folder: Path) -> tuple[Outside, Outside]:
    aerial, timm = read_outside(folder)
    return aerial, timm


def test_runs_are_asked_for_their_last_known_epoch_before_anything_is_seen(
    read: tuple[Outside, Outside],
) -> None:
    aerial = read[0]
    assert (aerial.hub, aerial.task.name, len(aerial.scores)) == ("aerial", "aerial_real_only", RUNS + 1)
    assert aerial.scores[0] == pytest.approx((0.2 - 0.2) / 0.8)
    assert aerial.scores[-1] == pytest.approx((0.4 - 0.2) / 0.8)
    assert aerial.inputs.fidelity[0, 0] == pytest.approx(3 / 50)
    assert aerial.inputs.fidelity[-1, 0] == pytest.approx(4 / 50)
    assert np.isnan(aerial.inputs.weights).all() and np.isnan(aerial.inputs.curve).all()
    assert len(np.unique(aerial.inputs.hyperparameters[:, 0])) == RUNS + 1
    assert aerial.inputs.metadata[0].tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_timms_results_do_not_tell_their_own_accuracy(read: tuple[Outside, Outside]) -> None:
    timm = read[1]
    assert (timm.hub, timm.task.name) == ("timm", "imagenet1k")
    assert timm.scores == pytest.approx((np.array([0.7, 0.8]) - 0.001) / 0.999)
    assert timm.inputs.metadata.tolist() == [[7.0, 1.0, 0.0, 0.0, 0.0]] * 2
    assert timm.inputs.fidelity[:, 0].tolist() == [1.0, 1.0] and FULL_RUN == 16


def test_a_folder_without_logs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no logs of others"):
        read_outside(tmp_path)


def test_the_tables_of_both_splits(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    surrogate().save(tmp_path / "all.safetensors")
    arguments = ["--hub", str(folder), "--out", str(tmp_path / "out"), "--surrogates", str(tmp_path)]
    out_of_corpus.main([*arguments, "--quick", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert {row["hub"] for row in report["rows"]} == {"timm"}
    assert {row["at"] for row in report["rows"]} == {"0 runs"}

    log = tmp_path / "LOG.md"
    arguments += ["--seeds", "2", "--split", "meta-test", "--json"]
    out_of_corpus.main(arguments, log)
    printed = capsys.readouterr()
    rows = {
        (row["method"].split()[1], row["at"], row["metric"]): row for row in json.loads(printed.out)["rows"]
    }
    assert {key[:2] for key in rows} == {("fms:", "0 runs"), ("fms:", "20 runs"), ("scratch:", "20 runs")}
    assert rows["fms:", "0 runs", "Kendall's tau"]["mean"] > 0.5
    assert rows["fms:", "20 runs", "Kendall's tau"]["mean"] > 0.5
    assert rows["fms:", "20 runs", "Kendall's tau"]["n"] == 2
    assert (
        rows["fms:", "20 runs", "log score, nats"]["mean"] < rows["fms:", "0 runs", "log score, nats"]["mean"]
    )
    assert "out_of_corpus on meta-test" in log.read_text()
    out_of_corpus.main([*arguments, "--surrogates", str(folder / "nowhere")], tmp_path / "other.md")
    printed = capsys.readouterr()
    assert "fms is left out: no all.safetensors" in printed.err
    assert {row["method"].split()[1] for row in json.loads(printed.out)["rows"]} == {"scratch:"}


def test_targets_are_two_sided_by_log() -> None:
    found = {
        (OURS, 0, "aerial", "90 %"): {"a": [1.0], "b": [0.98]},
        (OURS, 20, "aerial", "90 %"): {"a": [0.86, 0.88]},
        ("scratch", 20, "aerial", "90 %"): {"a": [0.9]},
        (OURS, 0, "aerial", "50 %"): {"a": [0.5]},
    }
    wide, good = targets(found)
    assert wide.measured == pytest.approx(0.09) and not wide.met
    assert good.measured == pytest.approx(0.03) and good.met and "20 runs" in good.target
