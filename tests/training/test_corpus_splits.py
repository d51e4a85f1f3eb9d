"""The committed splits: nothing that a fold is judged by is known from what it learns."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from timm.models import model_entrypoint

from training.corpus import candidates
from training.corpus.splits import FILE, Fold, Run, Splits, read_splits
from training.corpus.tasks import TIMM_TINY, dataset
from training.data import DOMAINS

PRETRAINED = candidates.timm_tiny()


@pytest.fixture(scope="module")
def splits() -> Splits:
    return read_splits()


@pytest.fixture(scope="module")
def runs(splits: Splits) -> list[Run]:
    """One run of every dataset with every candidate, also of those that no plan has."""
    return [
        Run(data, source, candidates.architecture(name))
        for data, (name, source) in product(splits.group, PRETRAINED.items())
    ] + [Run(data, None, "SmallCNN") for data in splits.group]


def test_every_dataset_and_architecture_of_the_hubs_is_placed(splits: Splits) -> None:
    assert {dataset(task) for task in TIMM_TINY} <= set(splits.group)
    assert {source for source in PRETRAINED.values() if source} <= set(splits.group)
    assert {candidates.architecture(name) for name in PRETRAINED} <= set(splits.family)


def test_families_are_those_of_timms_modules(splits: Splits) -> None:
    for architecture in candidates.ARCHITECTURES:
        assert splits.family[architecture] == model_entrypoint(architecture).__module__.rpartition(".")[2]


def test_every_group_and_every_family_is_held_out_once(splits: Splits) -> None:
    assert frozenset().union(*splits.task_folds) == set(splits.group.values())
    assert frozenset().union(*splits.family_folds) == set(splits.family.values()) - {"small_net"}
    assert len(list(splits.folds(families=True))) == len(splits.task_folds) * len(splits.family_folds)


@pytest.mark.parametrize("families", [False, True])
def test_no_fold_leaks(splits: Splits, runs: list[Run], families: bool) -> None:
    for fold in splits.folds(families=families):
        parts = [(splits.part(fold, run), run) for run in runs]
        train = [run for part, run in parts if part == "train"]
        test = [run for part, run in parts if part == "test"]
        held_out = {run.dataset for run in test}
        seen = {run.dataset for run in train} | {run.source for run in train + test} - {None}
        assert train and test
        assert not {splits.group[name] for name in seen} & {splits.group[name] for name in held_out}
        for shared in splits.same_images:
            assert not (shared & seen and shared & held_out), fold
        if families:
            assert not {splits.family[run.architecture] for run in train} & fold.families
            assert {splits.family[run.architecture] for run in test} <= fold.families


def test_folds_without_families_leave_out_only_what_leaks(splits: Splits, runs: list[Run]) -> None:
    left_out = [run for run in runs if splits.part(Fold(frozenset({"textures"})), run) is None]
    assert left_out == []
    left_out = [run for run in runs if splits.part(Fold(frozenset({"clothes"})), run) is None]
    assert {run.source for run in left_out} == {"fashion_mini"}


def test_domains_of_one_dataset_stay_together(splits: Splits) -> None:
    fold = Fold(frozenset({"pacs"}))
    runs = [Run(dataset(f"pacs:{domain}"), None, "test_vit") for domain in DOMAINS]
    assert {splits.part(fold, run) for run in runs} == {"test"}


@pytest.mark.parametrize(
    ("source", "task", "seen"),
    [
        ("cifar10", "cifar10", True),
        ("tiny_imagenet", "tiny_imagenet32", True),
        ("tiny_imagenet32", "hymenoptera", True),
        ("cifar10", "hymenoptera", False),
        ("mnist", "usps", False),
        (None, "usps", False),
    ],
)
def test_which_sources_have_seen_a_task(splits: Splits, source: str | None, task: str, seen: bool) -> None:
    assert splits.leaks(source, task) is seen


@pytest.mark.parametrize(
    "run", [Run("new", None, "test_vit"), Run("usps", "new", "test_vit"), Run("usps", None, "new")]
)
def test_what_has_no_place_is_refused_by_name(splits: Splits, run: Run) -> None:
    with pytest.raises(ValueError, match="'new' is in no"):
        splits.part(Fold(frozenset({"textures"})), run)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 2, "version 2"),
        ("groups", {"a": ["usps"], "b": ["usps"]}, "usps in more than one group"),
        ("families", {"a": ["test_vit"], "b": ["test_vit"]}, "test_vit in more than one family"),
        ("task_folds", [["clothes"], ["clothes"]], "clothes"),
        ("family_folds", [["perceptron"]], "perceptron"),
        ("same_images", [["usps", "new"]], "'new' is in no group"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    tmp_path: Path, key: str, value: object, message: str
) -> None:
    content = json.loads(FILE.read_text()) | {key: value}
    if key == "groups":
        content |= {"task_folds": [["a"]], "same_images": []}
    if key == "families":
        content |= {"family_folds": [["a"]]}
    path = tmp_path / "splits.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_splits(path)
