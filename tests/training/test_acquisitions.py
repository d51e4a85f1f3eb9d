"""Live searches by several acquisition rules, from surrogates that never saw the task's group."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests import taught
from tests.training.scans import digits
from training.benchmarks.acquisitions import main


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    digits(tmp_path, "mnist")
    return ["--data", str(tmp_path), "--live-tasks", "mnist", "--out", str(tmp_path / "out"), "--quick"]


def test_rules_are_compared_seed_by_seed_and_searches_read_back(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "held_out").mkdir()
    taught.surrogate().save(tmp_path / "held_out" / "without-characters.safetensors")
    arguments += ["--surrogates", str(tmp_path / "held_out"), "--rules", "ei,at-fidelity", "--json"]
    main(arguments)
    told = json.loads(capsys.readouterr().out)
    methods = {row["method"] for row in told["rows"]}
    assert methods == {"ei", "at-fidelity", "at-fidelity minus ei"}
    assert {row["n"] for row in told["rows"]} == {2}
    assert "meta-trained without the task's group" in told["setting"]
    ElementTree.parse(tmp_path / "out" / "live-quick.svg")
    searches = tmp_path / "out" / "live-quick"
    started = {log.parent.name: log.read_text() for log in searches.glob("*/logbook.jsonl")}
    assert set(started) == {f"mnist-{seed}-{rule}" for seed in (0, 1) for rule in ("ei", "at-fidelity")}
    assert all("taught" in log.splitlines()[0] for log in started.values())
    main(arguments)
    assert json.loads(capsys.readouterr().out) == told
    assert {log.parent.name: log.read_text() for log in searches.glob("*/logbook.jsonl")} == started


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rules", "ei,best"], "unknown rules best"),
        (["--surrogates", "."], "has no without-characters.safetensors for mnist; make it with"),
        (["--surrogates", ".", "--live-tasks", "cats"], "cats is in no group"),
    ],
)
def test_what_cannot_be_is_refused_before_any_search(
    arguments: list[str], more: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments, *more])
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
