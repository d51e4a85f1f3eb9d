"""The command line, as a process of its own: output, exit codes, interruption."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import fms_hub
from fms_hub import cli
from fms_hub.hub.logbook import FILE_NAME, read_history

CLI = [sys.executable, "-m", "fms_hub.cli"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}


def fms(*arguments: str | Path, **settings: object) -> subprocess.CompletedProcess[str]:
    command = [*CLI, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, **settings)  # type: ignore[call-overload,no-any-return]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real scans of three digits as a folder of class folders."""
    root = tmp_path_factory.mktemp("data") / "scans"
    scans = load_digits()
    for label in (3, 5, 8):
        (root / f"digit-{label}").mkdir(parents=True)
        for i in np.flatnonzero(scans.target == label)[:40]:
            pixels = np.clip(scans.images[i] * 16, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"digit-{label}" / f"{i}.png")
    return root


SEARCH = ("--candidates", "scratch:test_resnet,scratch:test_vit", "--image-size", "32", "--max-epochs", "3")


def test_json_is_one_object_on_standard_output_and_progress_is_elsewhere(
    folder: Path, tmp_path: Path
) -> None:
    done = fms("select", folder, *SEARCH, "--budget", "4 epochs", "--out", tmp_path / "run", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert set(told) == {"best", "leaderboard", "budget", "surrogate", "out"}
    assert set(told["best"]) == {"candidate", "hyperparameters", "score", "test_score", "epochs"}
    shown = {"candidate", "hyperparameters", "score", "epochs", "status", "outside", "licence", "gated"}
    assert set(told["leaderboard"][0]) == shown
    assert told["budget"]["epochs"] == 4
    assert told["best"]["score"] == max(o.score or 0 for o in read_history(tmp_path / "run"))
    assert "search" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_table_shows_every_run_and_the_winner(folder: Path, tmp_path: Path) -> None:
    done = fms("select", folder, *SEARCH, "--budget", "3 epochs", "--out", tmp_path / "run", "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    runs = {o.run for o in read_history(tmp_path / "run")}
    assert sum(line.strip().split(" ")[0].isdigit() for line in done.stdout.splitlines()) == len(runs)
    assert "on the test split" in done.stdout


def test_an_interrupted_search_exits_with_130_and_goes_on(folder: Path, tmp_path: Path) -> None:
    # Of a search that is far from its end when it is interrupted, on a busy machine, too.
    out = tmp_path / "run"
    command = [*CLI, "select", str(folder), *SEARCH, "--budget", "40 epochs", "--out", str(out), "--json"]
    running = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        # What a shell starts in the background ignores interruptions, and so does all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not ((out / FILE_NAME).exists() and read_history(out)):
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=120)
    assert running.returncode == 130
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    before = read_history(out)
    assert 0 < len(before) < 40
    again = subprocess.run(command, capture_output=True, text=True, timeout=300, env=ENVIRONMENT, check=True)
    assert json.loads(again.stdout)["budget"]["epochs"] == 40
    assert read_history(out)[: len(before)] == before


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("absent/folder",), "absent/folder"),
        (("digits", "--budget", "soon"), "'40 epochs'"),
        (("digits", "--budget", "0 epochs"), "positive"),
        (("digits", "--candidates", "resnet1"), "resnet18"),
        (("digits", "--candidates", "timm/resnet18.a1_in1k"), "resnet18.a1_in1k"),
        (("digits", "--metric", "auc"), "macro_f1"),
        (("digits", "--surrogate", "absent.safetensors"), "absent.safetensors"),
        (("digits", "--max-download", "lots"), "'500MB'"),
    ],
)
def test_mistakes_are_one_line_and_nothing_is_written(
    arguments: tuple[str, ...],
    why: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = str(tmp_path / "run")
    monkeypatch.setattr(sys, "argv", ["fms-hub", "select", *arguments, "--out", out, "--quiet"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    told = capsys.readouterr().err
    assert end.value.code in (1, 2)
    assert why in told
    assert told.startswith("error: ")
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "run" / FILE_NAME).exists()


def test_a_users_mistake_exits_with_2_and_an_absent_checkpoint_with_1(tmp_path: Path) -> None:
    assert fms("select", "digits", "--budget", "soon").returncode == 2
    assert fms("select", "--nonsense").returncode == 2
    absent = fms("select", "digits", "--candidates", "timm/resnet18.a1_in1k", "--out", tmp_path / "run")
    assert absent.returncode == 1


def test_a_broken_image_is_named_and_can_be_skipped(folder: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    broken = next((data / "digit-3").iterdir())
    broken.write_bytes(broken.read_bytes()[:60])
    refused = fms("select", data, *SEARCH, "--budget", "2 epochs", "--out", tmp_path / "run")
    assert refused.returncode == 2
    assert broken.name in refused.stderr
    done = fms("select", data, *SEARCH, "--budget", "2 epochs", "--out", tmp_path / "run", "--skip-bad")
    assert done.returncode == 0, done.stderr
    assert broken.name in done.stderr


def test_version() -> None:
    assert fms("--version").stdout == f"fms-hub {fms_hub.__version__}\n"


def test_help_and_import_are_quick_and_leave_torch_alone() -> None:
    check = "import sys, fms_hub; assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
    check = (
        "import sys\nfrom fms_hub import cli\nsys.argv = ['fms-hub', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", check], check=True, stdout=subprocess.DEVNULL)
