"""`fms-hub import`: what it prints, and mistakes in one line."""

import json
import sys
from pathlib import Path

import pytest

from fms_hub import cli
from fms_hub.cli.import_runs import parse_columns
from fms_hub.errors import UsageError
from fms_hub.hub.logbook import read_history

TRAINER = Path(__file__).parents[1] / "hub" / "importers" / "trainer"


def _run(*arguments: str | Path) -> int:
    """Exit code of the command line in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fms-hub", *map(str, arguments)])
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def test_json_is_one_object_on_standard_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    arguments = ("import", TRAINER, "--format", "trainer", "--out", log, "--candidate", "scratch:x")
    assert _run(*arguments, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["epochs"], told["best"], told["folder"]) == (1, 3, 0.35, str(log))
    assert len(read_history(log)) == 3
    assert _run(*arguments) == 0
    assert "best        0.3500 accuracy" in capsys.readouterr().out


def test_a_table_is_read_with_its_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("id,ep,acc,m\na,1,51,timm/x\n")
    arguments = ("import", tmp_path / "t.csv", "--format", "csv", "--out", tmp_path / "log", "--columns")
    assert _run(*arguments, "run=id, epoch=ep, score=acc, candidate=m", "--percent") == 0
    assert read_history(tmp_path / "log")[0].score == 0.51


def test_notices_go_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = TRAINER.parent / "trainer_evaluated"
    assert _run("import", source, "--format", "trainer", "--out", tmp_path, "--candidate", "x", "--json") == 0
    told = capsys.readouterr()
    assert told.err.startswith("notice: trainer_evaluated: no training_args.json")
    assert len(json.loads(told.out)["notices"]) == 1


def test_mistakes_are_one_line_and_exit_with_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("import", TRAINER, "--format", "trainer", "--out", tmp_path / "log") == 2
    told = capsys.readouterr().err
    assert told.startswith("error: run 'trainer' does not say which candidate it trained")
    assert told.count("\n") == 1
    data = tmp_path / "images"
    assert _run("select", "digits", "--warm-start", data, "--budget", "1 epoch", "-q") == 2
    assert "holds no logbook.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["run", "run=", "=id", "run=a,run=b", "run=a,,epoch=b"])
def test_columns_that_are_no_pairs_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="each name once"):
        parse_columns(text)
    assert parse_columns("run=a=b, epoch=c") == {"run": "a=b", "epoch": "c"}
