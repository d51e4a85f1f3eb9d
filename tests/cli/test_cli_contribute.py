"""`fms-hub contribute`: mistakes in one line; `tests/hub/test_contributions.py` sends something."""

import sys
from pathlib import Path

import pytest

from fms_hub import cli


def _run(*arguments: str) -> int:
    """Exit code of the command line in this process."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["fms-hub", "contribute", *arguments])
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMS_HUB_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "expected the folder of a search, or --flush"),
        (("somewhere",), "expected --repo ORGANISATION/NAME"),
        (("somewhere", "--repo", "corpus"), "a repository is named 'organisation/name', found 'corpus'"),
        (("somewhere", "--repo", "org/corpus"), "somewhere holds no logbook.jsonl"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(*arguments) == 2
    told = capsys.readouterr()
    assert told.out == "" and why in told.err
    assert told.err.startswith("error: ") and len(told.err.splitlines()) == 1


def test_an_empty_outbox_is_flushed_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("--flush", "--json") == 0
    assert capsys.readouterr().out == "[]\n"
