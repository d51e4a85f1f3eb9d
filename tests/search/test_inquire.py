"""What is found out about a task and its candidates before a search: files, a sample of images, probes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification

import fms_hub
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.catalog import resolve
from fms_hub.models.pedigree import Pedigree, pedigree
from fms_hub.records import Candidate, Probe
from fms_hub.search.candidates import describe_candidates
from fms_hub.search.inquire import inquire, probe_candidate
from fms_hub.search.known import METADATA, PROBES, Known, metadata_vector, probe_vector, with_standing
from fms_hub.surrogate.forest import LEAF, Forest
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.dataset import load_task
from fms_hub.tasks.embedding import EMBEDDING
from tests import taught

NAMES = ["bundled/test_resnet.mnist", "scratch:test_resnet"]


@pytest.fixture(scope="module")
def trainer() -> Trainer:
    return Trainer(load_task("digits"), image_size=32, device="cpu")


@pytest.fixture(scope="module")
def known(trainer: Trainer) -> Known:
    chosen = resolve(NAMES)
    graphs = describe_candidates(chosen, trainer, progress=False)
    found = inquire(taught.surrogate(), chosen, graphs, trainer)
    for candidate in chosen:
        found = found.after(probe_candidate(candidate, trainer), classes=10)
    return found


def test_a_surrogate_of_one_search_needs_none_of_it(trainer: Trainer) -> None:
    assert inquire(Surrogate(), resolve(NAMES), {}, trainer) == Known()


def test_the_task_is_embedded(known: Known) -> None:
    assert known.embedding is not None
    assert known.embedding.shape == (len(EMBEDDING),)
    assert np.isfinite(known.embedding).all()


def test_metadata_tell_a_pretrained_candidate_from_a_random_one(known: Known) -> None:
    taught_one, random_one = (dict(zip(METADATA, known.metadata[name], strict=True)) for name in NAMES)
    assert taught_one["pretrained"] == taught_one["accuracy_known"] == taught_one["log_source_classes"] == 1.0
    assert taught_one["source_accuracy"] > 0.9
    assert random_one["pretrained"] == random_one["accuracy_known"] == random_one["log_source_classes"] == 0.0
    assert taught_one["log_parameters"] == random_one["log_parameters"] == pytest.approx(5.6, abs=0.3)


def test_probes_find_that_handwritten_digits_know_digits(known: Known) -> None:
    rows = with_standing(known.probes)
    taught_one, random_one = (dict(zip(PROBES, rows[name], strict=True)) for name in NAMES)
    assert taught_one["linear"] > random_one["linear"] > 0.3
    assert 0.0 < taught_one["h_score"] <= 1.0
    assert (taught_one["standing"], random_one["standing"]) == pytest.approx((1.0, -1.0))


def test_numbers_are_in_units_that_tasks_share() -> None:
    assert metadata_vector(1000, pretrained=True, classes=100, accuracy=None).tolist() == [3, 1, 2, 0, 0]
    assert metadata_vector(None, pretrained=False, classes=None, accuracy=0.5).tolist() == [0, 0, 0, 0.5, 1]
    found = probe_vector(Probe("a", logme=-0.5, h_score=1.0, knn=0.25, linear=1.0, images=9), classes=4)
    assert found.tolist() == [-0.5, pytest.approx(1 / 3), 0.0, 1.0]


def test_standings_do_not_depend_on_what_probes_say_of_all_candidates_alike() -> None:
    rng = np.random.default_rng(0)
    probes = {name: rng.normal(size=4) for name in "abc"}
    found = with_standing(probes)
    assert all(np.array_equal(found[name][:4], probes[name]) for name in probes)
    shifted = with_standing({name: 3.0 * row - np.arange(4.0) for name, row in probes.items()})
    standings = [found[name][4] for name in probes]
    assert [shifted[name][4] for name in probes] == pytest.approx(standings)
    rows = np.array(list(probes.values()))
    deviations = (probes["a"] - rows.mean(axis=0)) / rows.std(axis=0)
    assert standings[0] == pytest.approx(deviations.mean())


def test_one_candidate_alone_and_equal_ones_stand_nowhere() -> None:
    row = np.array([-0.5, 0.2, 0.3, 0.4])
    assert with_standing({}) == {}
    assert with_standing({"a": row})["a"][4] == 0.0
    assert [found[4] for found in with_standing({"a": row, "b": row}).values()] == [0.0, 0.0]


def test_where_weights_come_from_is_read_from_what_lies_beside_them(tmp_path: Path) -> None:
    labels = {number: str(number) for number in range(7)}
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], id2label=labels)
    with torch.random.fork_rng():
        ResNetForImageClassification(config).save_pretrained(tmp_path / "theirs")
    repo = "timm/test_vit.r160_in1k"
    registered = Candidate(repo, "timm", "test_vit", repo, "0" * 40, "0" * 40)
    rest = resolve([str(tmp_path / "theirs"), "scratch:test_vit", torch.nn.Identity()])
    found = [pedigree(candidate) for candidate in (registered, *rest)]
    assert found == [Pedigree(True, 1000), Pedigree(True, 7), Pedigree(False), Pedigree(True)]


def test_a_bundled_checkpoint_is_known_by_its_weights_not_by_its_name() -> None:
    (candidate,) = resolve(NAMES[0])
    assert pedigree(candidate).classes == 10
    assert pedigree(replace(candidate, fingerprint="0" * 64)).accuracy is None


def test_probes_reach_the_surrogate_of_a_recommendation() -> None:
    base = taught.surrogate()
    assert base.learned is not None
    columns = sum(base.learned.widths.values())
    probed = Forest(
        roots=np.zeros(1, np.int32),
        feature=np.array([columns - 1, -1, -1], np.int16),
        number=np.array([-5.0, 0.1, 0.7], np.float32),
        right=np.array([2, 0, 0], np.int32),
        columns=columns,
    )
    flat = np.zeros(1, np.int32)
    level = Forest(flat, np.full(1, LEAF, np.int16), np.full(1, -2.0, np.float32), flat, columns=9)
    surrogate = replace(base, learned=replace(base.learned, forest=probed, doubt=level))
    scores = [
        fms_hub.recommend(
            "digits", NAMES[:1], surrogate=surrogate, image_size=32, probe=probe, progress=False
        ).best.score
        for probe in (False, True)
    ]
    assert scores[1] - scores[0] == pytest.approx(0.6 * 0.9, abs=1e-6)
