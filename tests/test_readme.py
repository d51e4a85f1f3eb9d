"""The README's Python runs, and what it prints looks like what the README shows."""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "training" / "README.md", ROOT / "training" / "LOG.md"]
PAGES += [
    *sorted((ROOT / "model_cards").glob("*.md")),
    ROOT / "fms_hub" / "surrogate" / "bundled" / "README.md",
]
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
SHOWN = re.search(r"It printed:\n\n```\n(.*?)```", README, flags=re.DOTALL)


def shape(text: str) -> set[str]:
    """Lines without their numbers: what is said, not how it came out on this processor."""
    return {re.sub(r"[\d.]+", "#", line).strip() for line in text.splitlines() if line.strip()}


def run(code: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    return printed.getvalue()


def test_the_first_example_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = run(BLOCKS[0])
    assert SHOWN is not None
    said, shown = printed.splitlines()[0], SHOWN[1].splitlines()[0]
    assert re.sub(r"'[^']*'|[\d.]+", "#", said) == re.sub(r"'[^']*'|[\d.]+", "#", shown)
    assert float(re.findall(r"accuracy=([\d.]+)", said)[0]) > 0.9
    assert {line for line in shape(printed) if "run" in line} == {
        line for line in shape(SHOWN[1]) if "run" in line
    }
    assert (tmp_path / "digits-model" / "model.safetensors").exists()


@pytest.mark.parametrize("code", BLOCKS[1:])
def test_the_other_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(code)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_are_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    here = [link for link in links if not link.startswith(("http://", "https://"))]
    assert [link for link in here if not (page.parent / link).exists()] == []
