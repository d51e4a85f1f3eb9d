"""The candidates of the timm-tiny hub: bundled checkpoints, source checkpoints and random initialisations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fms_hub.errors import CandidateError
from fms_hub.models import bundle, catalog
from fms_hub.records import Candidate
from training.pretrain.plan import PLAN, Pretraining
from training.pretrain.sources import SOURCES

SOURCES_ROOT = Path(__file__).parent / "sources"
"""Where `python -m training.pretrain --plan source` puts its checkpoints."""
ARCHITECTURES = tuple(dict.fromkeys(pretraining.architecture for pretraining in SOURCES))
_SOURCE = "source/"


def timm_tiny() -> Mapping[str, str | None]:
    """The dataset that each candidate was pretrained on, by its name; None for random weights.

    All that are planned, whether they are trained yet or not, so that plans do not depend on it.
    """
    pretrained = {f"bundled/{item.name}": _data(item) for item in PLAN}
    pretrained |= {f"{_SOURCE}{item.name}": _data(item) for item in SOURCES}
    return pretrained | {f"scratch:{architecture}": None for architecture in ARCHITECTURES}


def architecture(name: str) -> str:
    """The architecture of one of `timm_tiny`'s candidates, by its name."""
    if name.startswith("scratch:"):
        return name.removeprefix("scratch:")
    return name.partition("/")[2].partition(".")[0]


def find(name: str, root: Path | None = None) -> Candidate | None:
    """The candidate of this name; None if it is a source checkpoint that is not trained yet.

    Args:
        name: ``source/NAME``, or one name that `fms_hub.models.catalog.resolve` understands.
        root: of the source checkpoints; default: `SOURCES_ROOT`.

    Raises:
        CandidateError: nothing of this name is planned, or it names several.
    """
    if not name.startswith(_SOURCE):
        (candidate,) = catalog.resolve(name)
        return candidate
    if name not in timm_tiny():
        raise CandidateError(f"no source checkpoint {name!r} is planned in training.pretrain.sources.")
    home = root or SOURCES_ROOT
    if not (home / bundle.INDEX).is_file():
        return None
    return next((item for item in catalog.bundled(home) if item.name == name), None)


def resolve(name: str) -> Candidate:
    """As `find`, for a candidate that has to be there.

    Raises:
        CandidateError: also if it is not trained yet.
    """
    candidate = find(name)
    if candidate is None:
        raise CandidateError(
            f"{name} is not trained yet. Run python -m training.pretrain --plan source "
            f"--only {name.removeprefix(_SOURCE)} --data DIR first."
        )
    return candidate


def _data(pretraining: Pretraining) -> str | None:
    return pretraining.data if pretraining.epochs else None
