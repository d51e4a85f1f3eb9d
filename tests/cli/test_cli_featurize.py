"""`fms-hub featurize`: rows, the census of timm, and mistakes in one line."""

import json
import sys
from pathlib import Path

import pytest

from fms_hub import cli

ROW = {"candidate", "rung", "nodes", "edges", "parameters", "covered", "seconds"}


def _run(*arguments: str) -> int:
    """Exit code of the command line in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fms-hub", "featurize", *arguments])
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMS_HUB_CACHE", str(tmp_path / "cache"))


def test_json_is_a_list_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("bundled/test_resnet.*", "scratch:test_vit", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [set(row) for row in rows] == [ROW] * 3
    assert rows[0]["candidate"] == "bundled/test_resnet.mnist"
    assert (rows[0]["rung"], rows[0]["nodes"], rows[0]["covered"]) == ("meta", 37, 1.0)
    assert rows[0]["parameters"] == 373_658
    assert rows[0]["seconds"] > 0


def test_the_table_has_a_line_for_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("scratch:test_resnet", "scratch:test_vit", "--structure-only", "--quiet") == 0
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == [
        "candidate",
        "scratch:test_resnet",
        "scratch:test_vit",
    ]
    assert told.err == ""


def test_the_census_counts_architectures(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("test_res*", "test_vit", "--all-timm", "--structure-only", "--json") == 0
    told = capsys.readouterr()
    census = json.loads(told.out)
    assert set(census) == {"architectures", "ok", "failed", "covered", "median_seconds"}
    assert census["architectures"] == census["ok"] >= 2
    assert census["failed"] == [] and census["covered"] == 1.0 and census["median_seconds"] > 0
    assert "tracing" in told.err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "at least one MODEL"),
        (("--all-timm",), "--structure-only"),
        (("resnet1",), "resnet18"),
        (("absent_*", "--all-timm", "--structure-only"), "no architecture"),
        (("local-dir:absent",), "there is no folder"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and why in told.err
    assert told.err.startswith("error: ") and len(told.err.splitlines()) == 1
