"""Which runs a surrogate learns from and which it is judged by: the folds of ``splits.json``.

The file was written before any result was looked at. Datasets stand in groups; what is learned in one group
should not give away another. Rules, for a fold with the test groups G (and test families F):

- a run is a test run if its task is in G, and (with F) its candidate's family is in F;
- it is a training run if neither its task is in G nor its candidate's family in F;
- it is left out otherwise, and also if its candidate was pretrained on a dataset that is in G, or its task
  or its pretraining shares images with a dataset in G that it is not in itself: no meta-test task is a
  pretraining source.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

FILE = Path(__file__).parent / "splits.json"
VERSION = 1

Part = Literal["train", "test"]


@dataclass(frozen=True)
class Run:
    """What of a run decides where it belongs.

    Attributes:
        dataset: of its task, see `training.corpus.tasks.dataset`.
        source: the dataset that its candidate was pretrained on, or None.
        architecture: of its candidate.
    """

    dataset: str
    source: str | None
    architecture: str


@dataclass(frozen=True)
class Fold:
    """What is held out together.

    Attributes:
        groups: of datasets.
        families: of architectures; empty where only tasks are held out.
    """

    groups: frozenset[str]
    families: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Splits:
    """Groups of datasets, families of architectures, and the folds over both.

    Attributes:
        group: of each dataset.
        same_images: sets of datasets that share images.
        family: of each architecture.
        task_folds, family_folds: names that are held out together.
    """

    group: Mapping[str, str]
    same_images: tuple[frozenset[str], ...]
    family: Mapping[str, str]
    task_folds: tuple[frozenset[str], ...]
    family_folds: tuple[frozenset[str], ...]

    def folds(self, *, families: bool = False) -> Iterator[Fold]:
        """Leave out each group in turn; with ``families``, each together with each family fold."""
        for groups in self.task_folds:
            for held in self.family_folds if families else (frozenset[str](),):
                yield Fold(groups, held)

    def leaks(self, source: str | None, dataset: str) -> bool:
        """Whether a candidate pretrained on ``source`` has seen images of a dataset."""
        return source is not None and (
            source == dataset or any({source, dataset} <= shared for shared in self.same_images)
        )

    def part(self, fold: Fold, run: Run) -> Part | None:
        """Where a run belongs in a fold; None if it is left out.

        Raises:
            ValueError: its dataset, source or architecture is in no group or family; it is named.
        """
        family = _known(self.family, run.architecture, "family")
        is_test = _known(self.group, run.dataset, "group") in fold.groups
        if run.source is not None and self._touches(fold, run.source):
            return None
        if not is_test and self._touches(fold, run.dataset):
            return None
        if fold.families and is_test != (family in fold.families):
            return None
        return "test" if is_test else "train"

    def _touches(self, fold: Fold, dataset: str) -> bool:
        """Whether a dataset is in the test groups, or shares images with one that is."""
        if _known(self.group, dataset, "group") in fold.groups:
            return True
        held_out = (name for name, group in self.group.items() if group in fold.groups)
        return any(self.leaks(dataset, name) for name in held_out)


def read_splits(path: Path = FILE) -> Splits:
    """Read the groups and folds.

    Raises:
        ValueError: another version, a name in two groups, families or folds, or one that is unknown.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["version"] != VERSION:
        raise ValueError(f"{path} has version {content['version']}, expected {VERSION}.")
    splits = Splits(
        _inverted(content["groups"], "group", path),
        tuple(frozenset(names) for names in content["same_images"]),
        _inverted(content["families"], "family", path),
        tuple(frozenset(names) for names in content["task_folds"]),
        tuple(frozenset(names) for names in content["family_folds"]),
    )
    _check(splits.task_folds, set(splits.group.values()), path)
    _check(splits.family_folds, set(splits.family.values()), path)
    for name in chain.from_iterable(splits.same_images):
        _known(splits.group, name, "group")
    return splits


def _inverted(members: Mapping[str, list[str]], kind: str, path: Path) -> dict[str, str]:
    names = list(chain.from_iterable(members.values()))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path} has {', '.join(twice)} in more than one {kind}.")
    return {name: key for key, values in members.items() for name in values}


def _check(folds: tuple[frozenset[str], ...], known: set[str], path: Path) -> None:
    names = list(chain.from_iterable(folds))
    wrong = sorted({name for name in names if name not in known or names.count(name) > 1})
    if wrong:
        raise ValueError(f"{path} has folds with {', '.join(wrong)}, which is unknown or in two of them.")


def _known(mapping: Mapping[str, str], name: str, kind: str) -> str:
    if name not in mapping:
        raise ValueError(f"{name!r} is in no {kind} of splits.json; add it before it is used.")
    return mapping[name]
