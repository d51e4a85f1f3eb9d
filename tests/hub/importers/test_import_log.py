"""What all importers share: one log for one content, nothing written before everything is checked."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fms_hub.errors import OutputError, ResumeError, UsageError
from fms_hub.hub.about import About, AboutCandidate, read_about, write_about
from fms_hub.hub.importers.log import import_log
from fms_hub.hub.logbook import FILE_NAME, read_history, read_identity

COLUMNS = {"run": "id", "epoch": "ep", "score": "acc"}
ABOUT = About(
    fingerprint="f" * 64,
    classes=10,
    sizes={"train": 100, "validation": 50, "test": 50},
    features={},
    metric="accuracy",
    image_size=32,
    device="cpu",
    candidates=(AboutCandidate("scratch:a", "scratch", "a", "scratch:a", "a", None, 10),),
)


def table(folder: Path, last: float = 0.7) -> Path:
    path = folder / "runs.csv"
    path.write_text(f"id,ep,acc\na,1,0.5\na,2,0.6\na,3,{last}\n")
    return path


def imported(source: Path, out: Path, **options: Any) -> Any:
    return import_log(source, "csv", out=out, columns=COLUMNS, candidate="scratch:a", **options)


def test_what_was_imported_is_told_as_plain_json(tmp_path: Path) -> None:
    found = imported(table(tmp_path), tmp_path / "log", metric="accuracy")
    assert json.loads(json.dumps(found.to_json())) == {
        "folder": str(tmp_path / "log"),
        "format": "csv",
        "runs": 1,
        "epochs": 3,
        "failed": 0,
        "candidates": ["scratch:a"],
        "hyperparameters": [],
        "best": 0.7,
        "metric": "accuracy",
        "notices": [],
    }


def test_importing_again_changes_nothing_and_another_log_is_refused(tmp_path: Path) -> None:
    imported(table(tmp_path), tmp_path / "log")
    before = (tmp_path / "log" / FILE_NAME).read_bytes()
    imported(table(tmp_path), tmp_path / "log")
    assert (tmp_path / "log" / FILE_NAME).read_bytes() == before
    with pytest.raises(ResumeError, match="holds another search"):
        imported(table(tmp_path, last=0.8), tmp_path / "log")
    assert (tmp_path / "log" / FILE_NAME).read_bytes() == before


def test_an_import_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    imported(table(tmp_path), tmp_path / "log")
    path = tmp_path / "log" / FILE_NAME
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    imported(table(tmp_path), tmp_path / "log")
    assert path.read_bytes() == whole


def test_a_log_that_was_changed_by_hand_is_not_continued(tmp_path: Path) -> None:
    imported(table(tmp_path), tmp_path / "log")
    path = tmp_path / "log" / FILE_NAME
    path.write_text(path.read_text().replace('"score": 0.6', '"score": 0.9'))
    with pytest.raises(OutputError, match="holds another log"):
        imported(table(tmp_path), tmp_path / "log")


def test_the_identity_is_the_content_and_the_metric_where_it_is_known(tmp_path: Path) -> None:
    imported(table(tmp_path), tmp_path / "a")
    imported(table(tmp_path), tmp_path / "b", metric="macro_f1")
    a, b = read_identity(tmp_path / "a"), read_identity(tmp_path / "b")
    assert set(a) == {"imported", "content"}
    assert b == {**a, "metric": "macro_f1"}


def test_what_a_search_was_about_is_taken_over_for_contributing(tmp_path: Path) -> None:
    (tmp_path / "search").mkdir()
    write_about(tmp_path / "search", ABOUT)
    imported(table(tmp_path), tmp_path / "log", metric="accuracy", about=tmp_path / "search")
    assert read_about(tmp_path / "log") == ABOUT
    with pytest.raises(UsageError, match="is about accuracy, but the imported score is macro_f1"):
        imported(table(tmp_path), tmp_path / "other", metric="macro_f1", about=tmp_path / "search")
    with pytest.raises(OutputError, match=r"no about\.json"):
        imported(table(tmp_path), tmp_path / "other", about=tmp_path)
    assert not (tmp_path / "other").exists()


def test_imported_runs_can_be_contributed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fms_hub.corpus.contribute import contribute

    monkeypatch.setenv("FMS_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "search").mkdir()
    write_about(tmp_path / "search", ABOUT)
    imported(table(tmp_path), tmp_path / "log", about=tmp_path / "search")
    found = contribute(tmp_path / "log", "org/corpus")
    assert (found.rows, found.runs, found.sent) == (3, 1, False)


@pytest.mark.parametrize(
    ("format", "options", "message"),
    [
        ("wandb", {}, "format must be one of trainer, timm, optuna, csv; found 'wandb'"),
        ("timm", {"columns": {"run": "a"}}, "columns are for csv and optuna; timm has names of its own"),
        ("csv", {"study": "mine"}, "study is for optuna"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tmp_path: Path, format: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        import_log(tmp_path, format, out=tmp_path / "log", **options)


def test_importing_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from fms_hub.hub.importers.log import import_log; "
        f"import_log({str(table(tmp_path))!r}, 'csv', out={str(tmp_path / 'log')!r}, columns={COLUMNS!r}, "
        "candidate='x'); print([name for name in ('torch', 'timm', 'optuna') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stderr
    assert len(read_history(tmp_path / "log")) == 3
