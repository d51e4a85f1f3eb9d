"""A loopback Hub for the tests of this folder."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_client import LoopbackHub

HERE = Path(__file__).parent


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LoopbackHub]:
    root = tmp_path / "hub"
    root.mkdir()
    with subprocess.Popen(
        [sys.executable, str(HERE / "loopback.py"), str(root)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        yield LoopbackHub(server.stdout.readline().strip(), root, tmp_path / "home")
        server.terminate()
