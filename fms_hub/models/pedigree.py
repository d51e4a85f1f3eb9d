"""Where a candidate's weights come from, as far as it is written down beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fms_hub.models import bundle, from_timm, opening
from fms_hub.records import Candidate


@dataclass(frozen=True)
class Pedigree:
    """What is written about a candidate's pretraining.

    Attributes:
        pretrained: whether its weights were trained at all.
        classes: of the head it was pretrained with; None if unknown.
        accuracy: on held-out images of its source, in [0, 1]; None if unknown.
    """

    pretrained: bool
    classes: int | None = None
    accuracy: float | None = None


def pedigree(candidate: Candidate) -> Pedigree:
    """Read it from the bundled index, timm's registry or the candidate's config.json.

    Raises:
        CandidateError, HubError: the config cannot be had.
    """
    if candidate.source in ("scratch", "module"):
        return Pedigree(candidate.source == "module")
    entry = bundle.entries().get(candidate.name)
    if entry is not None and entry.sha256 == candidate.fingerprint:
        return Pedigree(True, entry.classes, entry.accuracy) if entry.epochs else Pedigree(False)
    if opening.is_registered(candidate):
        return Pedigree(True, from_timm.source_classes(candidate.name.removeprefix("timm/")))
    return Pedigree(True, _classes(opening.open_config(candidate).config))


def _classes(config: Mapping[str, Any]) -> int | None:
    """timm writes num_classes, transformers one label for each class, or how many there are."""
    labels = config.get("id2label")
    found = len(labels) if isinstance(labels, dict) else config.get("num_classes", config.get("num_labels"))
    return found if isinstance(found, int) and found > 0 else None
