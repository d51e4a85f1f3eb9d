from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
import torch

from fms_hub.errors import CheckpointError, SpaceError, StorageError, TrainingFailure, UsageError
from fms_hub.finetune.checkpoint import read
from fms_hub.finetune.epoch import EpochPlan, train_epoch
from fms_hub.finetune.gallery import Gallery
from fms_hub.finetune.optimizer import build_optimizer
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.trainer import EpochResult, Trainer
from fms_hub.models.zoo import layer_groups
from fms_hub.records import Candidate
from fms_hub.seeding import derived_seed, seeded


def scratch(architecture: str) -> Candidate:
    return Candidate(f"scratch:{architecture}", "scratch", architecture)


RESNET = scratch("test_resnet")
EVERYTHING = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "dropout": 0.2,
    "label_smoothing": 0.1,
    "layer_decay": 0.8,
    "augmentation": 0.6,
    "batch_size": 20,
}


def run(trainer: Trainer, folder, epochs, hyperparameters, *, candidate=RESNET, number=0, horizon=3):
    """Train the given epochs of a run, each from the checkpoint before."""
    results: list[EpochResult] = []
    for epoch in epochs:
        previous = folder / f"epoch{epoch - 1}" if epoch > 1 else None
        target = folder / f"epoch{epoch}"
        results.append(
            trainer.epoch(
                candidate,
                hyperparameters,
                run=number,
                epoch=epoch,
                horizon=horizon,
                previous=previous,
                target=target,
            )
        )
    return results


def same(a: EpochResult, b: EpochResult) -> bool:
    return (
        (a.score, a.train_loss, a.images) == (b.score, b.train_loss, b.images)
        and a.weights.keys() == b.weights.keys()
        and all(torch.equal(a.weights[k], b.weights[k]) for k in a.weights)
    )


@pytest.fixture
def trainer(few_digits) -> Trainer:
    return Trainer(few_digits, image_size=32, device="cpu")


def test_digits_are_learned(digits, tmp_path):
    trainer = Trainer(digits, image_size=32, device="cpu")
    results = run(trainer, tmp_path, (1, 2), {"learning_rate": 5e-3, "batch_size": 32}, horizon=2)
    assert results[1].score > 0.6
    assert results[1].train_loss < results[0].train_loss
    assert results[1].images == 1000
    assert results[1].seconds > 0
    assert trainer.test(RESNET, {}, tmp_path / "epoch2") > 0.6
    likely = trainer.predict(RESNET, {}, tmp_path / "epoch2", digits.validation.images)
    assert likely.shape == (200, 10)
    np.testing.assert_allclose(likely.sum(axis=1), 1, rtol=1e-5)
    assert (likely.argmax(axis=1) == digits.validation.labels).mean() == results[1].score


@pytest.mark.parametrize(
    "hyperparameters", [{}, EVERYTHING, {"frozen": 0.5, "optimizer": "sgd", "momentum": 0.0}]
)
def test_a_resumed_run_equals_one_straight_through(few_digits, trainer, tmp_path, hyperparameters):
    straight = run(trainer, tmp_path / "a", (1, 2), hyperparameters)
    first = run(Trainer(few_digits, image_size=32, device="cpu"), tmp_path / "b", (1,), hyperparameters)
    run(trainer, tmp_path / "c", (1,), {"augmentation": 1.0}, number=5)
    second = run(Trainer(few_digits, image_size=32, device="cpu"), tmp_path / "b", (2,), hyperparameters)
    assert same(straight[0], first[0])
    assert same(straight[1], second[0])


def test_checkpoints_between_epochs_change_nothing(few_digits, trainer, tmp_path):
    """The same two epochs, with the network and its optimiser simply kept in memory."""
    hyperparameters = {"learning_rate": 0.01, "layer_decay": 0.8, "batch_size": 32, "dropout": 0.3}
    recipe = Recipe.from_hyperparameters(hyperparameters)
    through_files = run(trainer, tmp_path, (1, 2), hyperparameters)[1]
    network = trainer._build(RESNET, recipe, weights=True)
    optimizer = build_optimizer(network.module, layer_groups(network.module), recipe)
    for epoch in (1, 2):
        seed = derived_seed(0, 0, epoch, "images")
        feed = Gallery(few_digits).training(network.stage.spec, recipe, seed)
        with seeded(derived_seed(0, 0, epoch)):
            train_epoch(network.module, optimizer, feed, network.stage, EpochPlan(recipe, epoch, 3, seed))
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, through_files.weights[name]), name


@pytest.mark.parametrize("hyperparameters", [{"batch_size": 20}, EVERYTHING])
def test_seed_and_run_make_a_difference(few_digits, trainer, tmp_path, hyperparameters):
    base = run(trainer, tmp_path / "a", (1,), hyperparameters)[0]
    other_run = run(trainer, tmp_path / "b", (1,), hyperparameters, number=1)[0]
    other_seed = Trainer(few_digits, image_size=32, device="cpu", seed=1)
    assert base.train_loss != other_run.train_loss
    assert base.train_loss != run(other_seed, tmp_path / "c", (1,), hyperparameters)[0].train_loss


def test_the_users_generators_are_untouched(trainer, tmp_path):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    run(trainer, tmp_path, (1,), EVERYTHING)
    trainer.test(RESNET, EVERYTHING, tmp_path / "epoch1")
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), before[2])


# Python 3.12 warns of any fork in a process with threads, which torch always has.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_views_do_not_depend_on_the_number_of_workers(few_digits, trainer, tmp_path):
    with_workers = Trainer(few_digits, image_size=32, device="cpu", workers=2)
    here = run(trainer, tmp_path / "a", (1,), EVERYTHING)[0]
    assert same(here, run(with_workers, tmp_path / "b", (1,), EVERYTHING)[0])


def test_only_the_head_moves_when_all_is_frozen(trainer, tmp_path):
    before = trainer._build(RESNET, Recipe(), weights=True).module
    head = set(layer_groups(before)[-1])
    after = run(trainer, tmp_path, (1,), {"frozen": 1.0, "learning_rate": 0.1})[0].weights
    moved = {name for name, value in before.state_dict().items() if not torch.equal(value, after[name])}
    assert moved == head
    kept = read(tmp_path / "epoch1").optimizer
    assert {path.split("/")[1] for path in kept} == head


def test_divergence_is_a_failure_and_leaves_nothing(trainer, tmp_path):
    wild = {"optimizer": "sgd", "learning_rate": 1e6, "momentum": 0.99, "batch_size": 4}
    with pytest.raises(TrainingFailure, match=r"epoch 1 of run 0 .*not finite") as failure:
        run(trainer, tmp_path, (1,), wild)
    assert failure.value.reason == "diverged"
    assert failure.value.seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_of_a_checkpoints_size_is_close(trainer, tmp_path):
    for name, hyperparameters in (
        ("adamw", {}),
        ("sgd", {"optimizer": "sgd"}),
        ("plain", {"optimizer": "sgd", "momentum": 0.0}),
        ("head", {"frozen": 1.0}),
    ):
        run(trainer, tmp_path / name, (1,), hyperparameters)
        found = sum(file.stat().st_size for file in (tmp_path / name / "epoch1").iterdir())
        estimate = trainer.checkpoint_bytes(RESNET, hyperparameters)
        assert estimate == pytest.approx(found, rel=0.02), name


@pytest.mark.parametrize("architecture", ["test_vit", "test_convnext", "test_efficientnet_gn"])
def test_other_families_train_too(few_digits, tmp_path, architecture):
    trainer = Trainer(few_digits, image_size=32, device="cpu", metric="macro_f1")
    result = run(trainer, tmp_path, (1,), EVERYTHING, candidate=scratch(architecture))[0]
    assert 0 <= result.score <= 1
    assert trainer.test(scratch(architecture), EVERYTHING, tmp_path / "epoch1") >= 0


def test_a_checkpoint_of_another_run_is_refused(trainer, tmp_path):
    run(trainer, tmp_path, (1,), {"learning_rate": 0.01})
    with pytest.raises(CheckpointError, match=r"has recipe .*0\.01.*this run has .*0\.02"):
        run(trainer, tmp_path, (2,), {"learning_rate": 0.02})
    with pytest.raises(CheckpointError, match=r"has candidate 'scratch:test_resnet'"):
        run(trainer, tmp_path, (2,), {"learning_rate": 0.01}, candidate=scratch("test_vit"))
    with pytest.raises(CheckpointError, match=r"has horizon 3, this run has 4"):
        run(trainer, tmp_path, (2,), {"learning_rate": 0.01}, horizon=4)
    (tmp_path / "epoch1").rename(tmp_path / "epoch2")
    with pytest.raises(CheckpointError, match=r"epoch 3 goes on from epoch 2; .* is of epoch 1"):
        run(trainer, tmp_path, (3,), {"learning_rate": 0.01})


def test_a_checkpoint_opens_for_its_own_candidate_only(trainer, tmp_path):
    run(trainer, tmp_path, (1,), {})
    with pytest.raises(CheckpointError, match=r"is of scratch:test_resnet, not of scratch:test_vit"):
        trainer.test(scratch("test_vit"), {}, tmp_path / "epoch1")
    impostor = dataclasses.replace(RESNET, architecture="test_vit")
    with pytest.raises(CheckpointError, match="does not fit scratch:test_resnet"):
        trainer.test(impostor, {}, tmp_path / "epoch1")


@pytest.mark.parametrize(("epoch", "horizon"), [(0, 3), (4, 3), (2, 3)])
def test_an_epoch_out_of_place_is_refused(trainer, tmp_path, epoch, horizon):
    with pytest.raises(UsageError, match="epoch"):
        trainer.epoch(RESNET, {}, run=0, epoch=epoch, horizon=horizon, previous=None, target=tmp_path / "x")


def test_what_cannot_be_followed_is_refused_before_training(few_digits, trainer, tmp_path):
    with pytest.raises(SpaceError, match="'warmup'"):
        run(trainer, tmp_path, (1,), {"warmup": 3})
    with pytest.raises(UsageError, match="found 'auc'"):
        Trainer(few_digits, metric="auc")
    with pytest.raises(UsageError, match="device 'nonsense'"):
        Trainer(few_digits, device="nonsense")
    with pytest.raises(UsageError, match=r"workers .*found -1"):
        Trainer(few_digits, workers=-1)


def test_a_target_that_cannot_be_written_is_a_storage_error(trainer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="expected to write the checkpoint"):
        run(trainer, tmp_path / "file", (1,), {})


def forked(trainer: Trainer, folder, hyperparameters, *, candidate=RESNET, number=1):
    return trainer.epoch(
        candidate,
        hyperparameters,
        run=number,
        epoch=2,
        horizon=3,
        previous=folder / "epoch1",
        target=folder / "fork",
        forked=True,
    )


def test_a_fork_under_its_parents_hyperparameters_goes_on_like_the_parent(trainer, tmp_path):
    straight = run(trainer, tmp_path, (1, 2), EVERYTHING)
    assert same(forked(trainer, tmp_path, EVERYTHING, number=0), straight[1])


def test_a_fork_goes_on_from_the_weights_and_the_optimisers_state(trainer, tmp_path):
    parent = run(trainer, tmp_path, (1,), {"optimizer": "sgd"})[0]
    tiny = forked(trainer, tmp_path, {"optimizer": "sgd", "learning_rate": 1e-9})
    for name, value in parent.weights.items():
        if value.is_floating_point() and "running" not in name:
            assert torch.allclose(tiny.weights[name], value, atol=1e-5), name
    before = read(tmp_path / "epoch1").optimizer
    after = read(tmp_path / "fork").optimizer
    assert before.keys() == after.keys()


@pytest.mark.parametrize(
    "change",
    [{"optimizer": "sgd"}, {"frozen": 0.5}, {"optimizer": "sgd", "momentum": 0.0}, {"self_tuning": True}],
)
def test_a_fork_whose_optimiser_differs_begins_it_anew(few_digits, trainer, tmp_path, change):
    run(trainer, tmp_path, (1,), {})
    result = forked(trainer, tmp_path, change)
    assert 0.0 <= result.score <= 1.0
    assert read(tmp_path / "fork").state.recipe["frozen"] == change.get("frozen", 0.0)


def test_a_fork_from_a_checkpoint_of_another_architecture_is_refused(trainer, tmp_path):
    run(trainer, tmp_path, (1,), {})
    with pytest.raises(CheckpointError, match=r"has candidate 'scratch:test_resnet', this run has"):
        forked(trainer, tmp_path, {}, candidate=scratch("test_vit"))
