"""timm's training script: summaries written by timm itself while a small network really trains."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from sklearn.datasets import load_digits
from timm.optim import create_optimizer_v2
from timm.utils import AverageMeter, accuracy
from timm.utils.summary import update_summary
from torch import nn

from fms_hub.errors import CandidateError, UsageError
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.logbook import read_history

ARGUMENTS: dict[str, Any] = {
    "model": "test_resnet.r160_in1k", "pretrained": True, "initial_checkpoint": "", "resume": "",
    "batch_size": 32, "grad_accum_steps": 2, "opt": "sgd", "momentum": 0.9, "weight_decay": 2e-5,
    "lr": None, "lr_base": 0.1, "lr_base_size": 256, "layer_decay": None, "epochs": 4, "drop": 0.25,
    "smoothing": 0.1, "data_dir": "/home/somebody/images", "seed": 42,
}  # fmt: skip
"""As the script dumps its arguments, the learning rate not yet derived; many more that are not read."""


def write_arguments(folder: Path, **changes: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(SimpleNamespace(**{**ARGUMENTS, **changes}).__dict__, default_flow_style=False)
    (folder / "args.yaml").write_text(text)
    return folder


def train(folder: Path, epochs: int = 3) -> list[float]:
    """A linear classifier of digits; returns the accuracies, in percent."""
    scans = load_digits()
    pixels, labels = torch.tensor(scans.data[:800] / 16).float(), torch.tensor(scans.target[:800])
    torch.manual_seed(0)
    network = nn.Linear(64, 10)
    optimizer = create_optimizer_v2(network, opt="sgd", lr=0.4, momentum=0.9)
    scores = []
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.4 / (epoch + 1)
        losses, top1 = AverageMeter(), AverageMeter()
        for start in range(0, 600, 60):
            loss = nn.functional.cross_entropy(
                network(pixels[start : start + 60]), labels[start : start + 60]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), 60)
        (acc1,) = accuracy(network(pixels[600:]), labels[600:], topk=(1,))
        top1.update(acc1.item(), 200)
        update_summary(
            epoch, {"loss": losses.avg}, {"loss": 0.5, "top1": top1.avg, "top5": 99.0},
            str(folder / "summary.csv"), lr=optimizer.param_groups[0]["lr"],
        )  # fmt: skip
        scores.append(top1.avg)
    return scores


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    folder = write_arguments(tmp_path_factory.mktemp("output") / "20261121-test_resnet-32")
    return folder, train(folder)


def test_percentages_become_scores_and_arguments_hyperparameters(
    trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    folder, percentages = trained
    found = import_log(folder, "timm", out=tmp_path)
    history = read_history(tmp_path)
    assert [o.score for o in history] == pytest.approx([p / 100 for p in percentages])
    assert 0.5 < percentages[-1] / 100 <= 1.0
    assert [(o.run, o.epoch, o.horizon) for o in history] == [(0, 1, 4), (0, 2, 4), (0, 3, 4)]
    assert history[0].candidate == "timm/test_resnet.r160_in1k"
    assert history[0].hyperparameters == {
        "batch_size": 64,
        "dropout": 0.25,
        "label_smoothing": 0.1,
        "learning_rate": 0.4,
        "momentum": 0.9,
        "optimizer": "sgd",
        "weight_decay": 2e-5,
    }
    assert all(o.train_loss is not None and o.train_loss > 0 for o in history)
    assert found.metric == "accuracy"


def test_a_folder_of_runs_and_the_file_alone_are_read(
    trained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    assert import_log(trained[0].parent, "timm", out=tmp_path / "a").runs == 1
    assert import_log(trained[0] / "summary.csv", "timm", out=tmp_path / "b").epochs == 3


def summary(folder: Path, text: str, **arguments: object) -> Path:
    write_arguments(folder, **arguments)
    (folder / "summary.csv").write_text(text)
    return folder


ROWS = "epoch,train_loss,eval_loss,eval_top1,lr\n0,2.0,1.0,40.0,0.1\n1,1.5,0.9,50.0,0.05\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"opt": "adamw", "lr": 0.01}, {"optimizer": "adamw", "learning_rate": 0.01}),
        ({"opt": "nesterov"}, {"optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.1}),
        # The mean over layers that decay is not the peak of the head.
        ({"layer_decay": 0.75}, {"layer_decay": 0.75, "learning_rate": None}),
        ({"opt": "lamb"}, {"optimizer": "lamb", "momentum": None}),
    ],
)
def test_what_the_arguments_leave_open_is_left_open(
    tmp_path: Path, arguments: dict[str, object], expected: dict[str, object]
) -> None:
    import_log(summary(tmp_path / "run", ROWS, **arguments), "timm", out=tmp_path / "log")
    found = read_history(tmp_path / "log")[0].hyperparameters
    assert {name: found.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("arguments", "candidate"),
    [
        ({"model": "vit_tiny_patch16_224.augreg_in21k"}, "timm/vit_tiny_patch16_224.augreg_in21k"),
        ({"model": "resnet18", "pretrained": False}, "scratch:resnet18"),
        ({"model": "hf-hub:timm/resnet18.a1_in1k"}, "timm/resnet18.a1_in1k"),
    ],
)
def test_candidates_are_named_as_in_a_search(
    tmp_path: Path, arguments: dict[str, object], candidate: str
) -> None:
    found = import_log(summary(tmp_path / "run", ROWS, **arguments), "timm", out=tmp_path / "log")
    assert found.candidates == (candidate,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model": "resnet18"}, "names 'resnet18' without the tag of its weights"),
        ({"initial_checkpoint": "/home/me/best.pth"}, r"from a file of its own \(initial_checkpoint\)"),
        ({"model": None}, "names no model"),
    ],
)
def test_weights_that_cannot_be_known_are_asked_for(
    tmp_path: Path, arguments: dict[str, object], message: str
) -> None:
    source = summary(tmp_path / "run", ROWS, **arguments)
    with pytest.raises(CandidateError, match=message):
        import_log(source, "timm", out=tmp_path / "log")
    assert import_log(source, "timm", out=tmp_path / "log", candidate="timm/mine").candidates == (
        "timm/mine",
    )


def test_a_candidate_that_the_run_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"trained 'timm/test_resnet.r160_in1k' by its own log"):
        import_log(summary(tmp_path / "run", ROWS), "timm", out=tmp_path / "log", candidate="timm/other")


def test_the_header_of_a_resumed_run_is_no_epoch(tmp_path: Path) -> None:
    header, first, second = ROWS.splitlines()
    source = summary(tmp_path / "run", "\n".join([header, first, header, second]))
    assert import_log(source, "timm", out=tmp_path / "log").epochs == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("epoch,eval_top1\n", "no epoch below its header"),
        ("epoch,eval_loss\n0,1.0\n", "no column 'eval_top1'; found epoch, eval_loss"),
        ("epoch,train_loss,eval_top1,lr\n0,2.0,40.0,0.1\n1,1.5,0.05\n", "line 3: expected 4 cells, found 3"),
        ("epoch,eval_top1\n0,40\n2,50\n", "'run' has no epoch 2, found 1, 3"),
        ("epoch,eval_top1\n0,40\n0,41\n", "'run' has epoch 1 twice"),
        ("epoch,eval_top1\n0,400\n", r"must lie in \[0, 100\], found 400"),
        ("epoch,eval_top1\n0,high\n", "eval_top1 of epoch 0 must be a number, found 'high'"),
        ("epoch,eval_top1\n0.5,40\n", "an epoch must be a whole number"),
    ],
)
def test_damaged_summaries_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        import_log(summary(tmp_path / "run", text), "timm", out=tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_arguments_that_would_run_code_or_are_missing_are_refused(tmp_path: Path) -> None:
    source = summary(tmp_path / "run", ROWS)
    for text, message in [
        ("!!python/object/apply:os.system ['true']", "is no plain YAML"),
        ("- a\n- b", "arguments by name, found list"),
    ]:
        (source / "args.yaml").write_text(text)
        with pytest.raises(UsageError, match=message):
            import_log(source, "timm", out=tmp_path / "log")
    (source / "args.yaml").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*args.yaml"):
        import_log(source, "timm", out=tmp_path / "log")
    (source / "summary.csv").unlink()
    with pytest.raises(UsageError, match=r"expected summary.csv in .*tmp"):
        import_log(source, "timm", out=tmp_path / "log")
