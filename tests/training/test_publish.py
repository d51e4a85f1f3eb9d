"""Publishing a surrogate: the folder that the Hub gets, and a card that huggingface_hub reads."""

import json
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from fms_hub.errors import CheckpointError, OutputError, UsageError
from fms_hub.surrogate.surrogate import Surrogate
from tests import taught
from training import publish
from training.benchmarks.cached.report import Report, TableRow, Target

TRAINING = {
    "name": "taught", "hub": "timm-tiny", "tasks": ["usps", "flowers5"], "runs": 32, "steps": 100,
    "widening": {"fresh": 1.25, "early": 1.5}, "lean": {"fresh": 0.5, "early": 0.75}, "seconds": 3.0,
    "foresight_error": {"flowers": 0.125, "faces": 0.25}, "covered_before_widening": {"flowers": 0.9},
    "corpus": {"timm-tiny": "ab12"}, "data": {"usps": "research use"}, "pretraining": {"mnist": "MIT"},
}  # fmt: skip
ROWS = [
    TableRow("fms: ours", "timm-tiny", "50 epochs", "Kendall's tau", 0.61234, 0.5, 0.7, 30),
    TableRow("fms: ours", "timm-tiny", "100 epochs", "Kendall's tau", 0.65, 0.6, 0.7, 28),
    TableRow("fms-like: not ours", "timm-tiny", "50 epochs", "Kendall's tau", 0.9, 0.5, 0.95, 30),
]
REPORT = Report("ranking", "hub timm-tiny, meta-test", ROWS, [Target("tau", 0.5, 0.6, True)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "taught.safetensors"
    taught.surrogate().save(path)
    path.with_suffix(".json").write_text(json.dumps(TRAINING))
    (tmp_path / "ranking.json").write_text(REPORT.json())
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["publish", *map(str, arguments)])
    try:
        publish.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_folder_has_the_very_file_and_a_card_that_the_hub_reads(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "card.md").write_text("# Taught\n\nWhat it is good for.\n")
    out = tmp_path / "out"
    given = ("--surrogate", file, "--out", out, "--results", tmp_path / "ranking.json", "--repo", "org/best")
    assert run(monkeypatch, *given, "--card", tmp_path / "card.md", "--tag", "v1") == 0
    told = capsys.readouterr()
    outcome = json.loads(told.out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "config.json",
        "surrogate.safetensors",
    ]
    assert (out / "surrogate.safetensors").read_bytes() == file.read_bytes()
    loaded = Surrogate.from_pretrained(out, sha256=outcome["sha256"])
    assert loaded.name == json.loads((out / "config.json").read_text())["name"] == "taught"
    assert (outcome["sent"], outcome["commit"], outcome["tag"]) == (False, None, "v1")
    assert outcome["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert "nothing was sent" in told.err and "surrogate.safetensors" in told.err
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "apache-2.0" and "fms-hub-surrogate" in card.data.tags
    result, later = card.data.eval_results
    assert (result.metric_type, result.metric_value) == ("Kendall's tau", 0.6123)
    assert (result.dataset_type, result.dataset_split, result.metric_args) == (
        "timm-tiny",
        "meta-test",
        {"low": 0.5, "high": 0.7, "searches": 30},
    )
    assert (result.metric_name, later.metric_name) == (
        "Kendall's tau, 50 epochs",
        "Kendall's tau, 100 epochs",
    )
    assert "What it is good for." in card.text and "--surrogate org/best" in card.text
    assert "| flowers | 0.900 | 0.125 |" in card.text and "| faces |  | 0.250 |" in card.text
    assert "| early | 1.500 | 0.750 |" in card.text
    assert "0.900" in card.text  # the table has all methods
    assert run(monkeypatch, *given) == 0  # the same folder again


def test_pictures_stand_with_the_results_of_their_benchmark(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = (
        "--surrogate",
        file,
        "--out",
        tmp_path / "out",
        "--results",
        tmp_path / "ranking.json",
        "--pictures",
    )
    for name in ("ranking.svg", "other.svg"):
        (tmp_path / name).write_text(f"<svg>{name}</svg>")
    assert run(monkeypatch, *given, tmp_path / "other.svg", tmp_path / "ranking.svg") == 0
    text = (tmp_path / "out" / "README.md").read_text()
    assert (
        text.index("## Results: ranking, meta-test")
        < text.index("](ranking.svg)")
        < text.index("](other.svg)")
    )
    assert (tmp_path / "out" / "other.svg").read_text() == "<svg>other.svg</svg>"
    assert "| timm-tiny | ab12 |" in text and "| usps | research use |" in text and "| mnist | MIT |" in text
    capsys.readouterr()
    for wrong, why in (("gone.svg", "is no picture"), ("ranking.json", "is no picture")):
        assert run(monkeypatch, *given, tmp_path / wrong) == 1
        assert why in capsys.readouterr().err
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "other.svg").write_text("<svg/>")
    assert run(monkeypatch, *given, tmp_path / "other.svg", tmp_path / "more" / "other.svg") == 1
    assert "different names" in capsys.readouterr().err


def test_without_results_and_report_the_card_is_short_and_sound(tmp_path: Path, file: Path) -> None:
    publish.write_folder(file, tmp_path / "out", publish.Told("taught", "mit"), None)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert "--surrogate FOLDER" in card.text and "None" not in card.text
    assert card.data.license == "mit" and card.data.eval_results is None
    assert "# taught" in card.text and "## Training" not in card.text


def test_what_others_cannot_use_is_not_published(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = publish.Told("taught", "mit")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"notes\.txt"):
        publish.write_folder(file, tmp_path / "full", told, "org/best")
    pool = taught.pool("usps", 0, runs=4)
    from training.meta.table import table_of

    table = table_of(pool)
    seen = taught.surrogate().condition(table.inputs.rows(slice(0, 5)), table.scores[:5])
    seen.save(tmp_path / "seen.safetensors")
    with pytest.raises(UsageError, match="seen no search"):
        publish.write_folder(tmp_path / "seen.safetensors", tmp_path / "out", told, "org/best")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"bad\.json is no result"):
        publish.read_results(tmp_path / "bad.json")
    assert run(monkeypatch, "--surrogate", file, "--out", tmp_path / "out", "--yes") == 1
    assert "--yes needs --repo" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
