"""What names a surrogate, and what stands for it where nothing does."""

from pathlib import Path

import pytest

from fms_hub.errors import CheckpointError, Tampered, UsageError
from fms_hub.surrogate import pretrained
from fms_hub.surrogate.naming import resolve_surrogate
from fms_hub.surrogate.surrogate import Surrogate
from tests import taught


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the bundled surrogate would be; it is not there."""
    monkeypatch.setattr(pretrained, "BUNDLED_FOLDER", tmp_path / "bundled")
    return tmp_path / "bundled"


def test_without_a_bundled_surrogate_a_search_learns_from_itself_and_says_so(folder: Path) -> None:
    found = resolve_surrogate(None)
    assert found.learned is None and found.identity == found.label == "scratch"
    with pytest.raises(UsageError, match="no surrogate comes with this release"):
        resolve_surrogate("bundled")


def test_a_bundled_surrogate_is_the_default_and_scratch_can_still_be_asked_for(folder: Path) -> None:
    taught.surrogate().save_pretrained(folder)
    found = resolve_surrogate(None)
    assert found.learned is not None and found.source is not None
    assert found.label == f"taught sha256:{found.source.sha256}"
    assert resolve_surrogate("bundled").label == found.label
    assert resolve_surrogate("scratch").learned is None


def test_the_identity_follows_the_file_and_stays_with_what_is_learned_from_it(
    folder: Path, tmp_path: Path
) -> None:
    mine = taught.surrogate()
    mine.save(tmp_path / "a.safetensors")
    mine.save(tmp_path / "b.safetensors")
    one, same = (resolve_surrogate(tmp_path / f"{name}.safetensors") for name in "ab")
    assert one.identity == same.identity != mine.identity == "taught"
    assert resolve_surrogate(one) is one
    assert one.source is not None
    with pytest.raises(Tampered, match="expected 0000"):
        Surrogate.from_pretrained(tmp_path / "a.safetensors", sha256="0" * 64)


@pytest.mark.parametrize(
    "name", ["absent", "absent/deep/er", "./absent.safetensors", "org/absent.safetensors"]
)
def test_what_is_neither_here_nor_on_the_hub_is_named(folder: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="does not exist; a surrogate is 'bundled'"):
        resolve_surrogate(name)


def test_a_folder_without_a_surrogate_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no surrogate\.safetensors"):
        resolve_surrogate(tmp_path)
