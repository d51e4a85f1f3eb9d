from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from ConfigSpace import Categorical, ConfigurationSpace
from safetensors.torch import load_file, save_file

from fms_hub.errors import CheckpointError, SpaceError, TaskError
from fms_hub.finetune.checkpoint import TUNING, read
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.self_tuning.feeds import TuningFeeds
from fms_hub.finetune.self_tuning.hyperparameters import TUNABLES
from fms_hub.finetune.self_tuning.network import TUNED, fold
from fms_hub.finetune.self_tuning.run import responsive, restore, tensors
from fms_hub.finetune.self_tuning.steps import build_tuner
from fms_hub.finetune.trainer import EpochResult, Trainer
from fms_hub.models.model import InputSpec
from fms_hub.records import Candidate
from fms_hub.search.space import Space
from fms_hub.tasks.task import Task, task_from_arrays

RESNET = Candidate("scratch:test_resnet", "scratch", "test_resnet")
TUNING_RUN = {"self_tuning": True, "batch_size": 16, "learning_rate": 5e-3, "dropout": 0.2}
SPEC = InputSpec(8, (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)


@pytest.fixture
def trainer(few_digits: Task) -> Trainer:
    return Trainer(few_digits, image_size=32, device="cpu")


def run(
    trainer: Trainer, folder, epochs, hyperparameters=TUNING_RUN, *, candidate=RESNET
) -> list[EpochResult]:
    return [
        trainer.epoch(
            candidate,
            hyperparameters,
            run=0,
            epoch=epoch,
            horizon=3,
            previous=folder / f"epoch{epoch - 1}" if epoch > 1 else None,
            target=folder / f"epoch{epoch}",
        )
        for epoch in epochs
    ]


def test_a_resumed_run_equals_one_straight_through_and_its_checkpoint_is_a_plain_network(
    few_digits, trainer, tmp_path
):
    straight = run(trainer, tmp_path / "a", (1, 2))
    run(Trainer(few_digits, image_size=32, device="cpu"), tmp_path / "b", (1,))
    resumed = run(Trainer(few_digits, image_size=32, device="cpu"), tmp_path / "b", (2,))[0]
    assert (straight[1].score, straight[1].train_loss) == (resumed.score, resumed.train_loss)
    assert straight[1].tuned == resumed.tuned
    assert all(torch.equal(value, resumed.weights[name]) for name, value in straight[1].weights.items())
    one, other = (read(tmp_path / name / "epoch2").tuning for name in "ab")
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())

    model = trainer.load(RESNET, TUNING_RUN, tmp_path / "a" / "epoch2")
    assert not any("Hyper" in type(part).__name__ for part in model.module.modules())
    likely = trainer.predict(RESNET, TUNING_RUN, tmp_path / "a" / "epoch2", few_digits.validation.images)
    assert (likely.argmax(1) == few_digits.validation.labels).mean() == straight[1].score


def test_hyperparameters_begin_where_the_recipe_says_and_move(trainer, tmp_path):
    first, second = run(trainer, tmp_path, (1, 2))
    assert tuple(first.tuned) == TUNED
    assert 0 < abs(second.tuned["dropout"] - 0.2) < 0.2
    moved = [name for name in TUNED if abs(second.tuned[name] - TUNABLES[name].start) > 1e-3]
    assert set(moved) >= set(TUNED) - {"cutout_number", "hue"}
    # 101 digits, 20 of them to tune on; of the 81 left the last single one is dropped.
    assert first.images == 80


def test_a_network_learns_while_it_is_tuned(digits, tmp_path):
    trainer = Trainer(digits, image_size=32, device="cpu")
    results = run(trainer, tmp_path, (1, 2), TUNING_RUN | {"batch_size": 32})
    assert results[1].score > 0.6
    assert results[1].train_loss < results[0].train_loss


def test_the_estimate_of_a_checkpoints_size_is_close(trainer, tmp_path):
    run(trainer, tmp_path, (1,))
    found = sum(file.stat().st_size for file in (tmp_path / "epoch1").iterdir())
    assert trainer.checkpoint_bytes(RESNET, TUNING_RUN) == pytest.approx(found, rel=0.02)


def test_transformers_and_frozen_layers_train_too(few_digits, tmp_path):
    trainer = Trainer(few_digits, image_size=32, device="cpu")
    vit = Candidate("scratch:test_vit", "scratch", "test_vit")
    frozen = TUNING_RUN | {"frozen": 0.5, "optimizer": "sgd", "layer_decay": 0.8, "augmentation": 0.5}
    result = run(trainer, tmp_path / "vit", (1,), frozen, candidate=vit)[0]
    before = trainer._build(vit, Recipe(), weights=True).module.state_dict()
    same = {name for name, value in before.items() if torch.equal(value, result.weights[name])}
    assert "patch_embed.proj.weight" in same
    assert "head.weight" not in same


def test_layers_that_are_left_are_named_once_a_search(few_digits, tmp_path):
    trainer = Trainer(few_digits, image_size=32, device="cpu")
    nfnet = Candidate("scratch:test_nfnet", "scratch", "test_nfnet")
    with pytest.warns(UserWarning, match="leaves 25 of 34 layers"):
        run(trainer, tmp_path / "a", (1,), candidate=nfnet)
    run(trainer, tmp_path / "a", (2,), candidate=nfnet)  # a warning would be an error


def test_what_a_checkpoint_holds_comes_back_whole(trainer, tmp_path):
    run(trainer, tmp_path, (1,))
    held = read(tmp_path / "epoch1")
    recipe = Recipe.from_hyperparameters(TUNING_RUN)
    built = trainer._build(RESNET, recipe, weights=False)
    built.module.load_state_dict(held.weights)
    network = responsive(built.module, built.stage, recipe, quiet=True)
    tuner = build_tuner(network.hyperparameters)
    restore(network, tuner, held.tuning)
    again = tensors(network, tuner)
    assert again.keys() == held.tuning.keys()
    assert all(torch.equal(value, again[name]) for name, value in held.tuning.items())
    assert {name for name in again if name.startswith("tuner/")} == {
        f"tuner/{state}/{of}"
        for state in ("step", "exp_avg", "exp_avg_sq")
        for of in ("centre", "raw_spread")
    }
    folded = fold(network).state_dict()
    assert all(torch.allclose(value, folded[name], atol=1e-6) for name, value in held.weights.items())


def damage(folder, change) -> None:
    """Rewrite the tensors of self-tuning, and their digest with them."""
    tensors = load_file(folder / TUNING)
    change(tensors)
    save_file(tensors, folder / TUNING)
    state = json.loads((folder / "state.json").read_text())
    state["sha256"][TUNING] = hashlib.sha256((folder / TUNING).read_bytes()).hexdigest()
    (folder / "state.json").write_text(json.dumps(state))


def test_a_checkpoint_that_does_not_fit_is_refused(trainer, tmp_path):
    run(trainer, tmp_path, (1,))
    folder = tmp_path / "epoch1"
    with pytest.raises(CheckpointError, match="has recipe"):
        run(trainer, tmp_path, (2,), {**TUNING_RUN, "self_tuning": False})
    damage(folder, lambda t: t.pop("network/fc.response_gain"))
    with pytest.raises(CheckpointError, match=r"1 do not fit, 'fc\.response_gain' for one"):
        run(trainer, tmp_path, (2,))
    damage(folder, lambda t: t.update({"network/fc.response_gain": torch.zeros(10, 2)}))
    with pytest.raises(CheckpointError, match="does not fit the network"):
        run(trainer, tmp_path, (2,))
    (folder / TUNING).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"self_tuning\.safetensors is damaged"):
        run(trainer, tmp_path, (2,))


def test_the_tuning_images_are_a_stratified_part_of_train_that_is_not_trained_on(digits):
    feeds = TuningFeeds(digits, seed=1)
    recipe = Recipe(batch_size=60, augmentation=0.5)
    tuning = feeds.tuning(SPEC, recipe, 0)
    first, second = ([next(tuning) for _ in range(4)] for _ in range(2))
    labels = torch.cat([batch.labels for batch in first])
    share = np.bincount(labels.numpy(), minlength=10) / np.bincount(digits.train.labels, minlength=10)
    assert np.abs(share - 0.2).max() < 0.01
    pixels = [torch.cat([b.pixels for b in part]).flatten(1).unique(dim=0) for part in (first, second)]
    assert torch.equal(pixels[0], pixels[1])  # each pass shows all of them, unaugmented
    assert not torch.equal(first[0].pixels, second[0].pixels)  # in another order
    trained = feeds.training(SPEC, Recipe(), 0)
    rest = torch.cat([batch.pixels for batch in trained.batches]).flatten(1)
    assert len(rest) == 1000 - len(labels)
    assert not {row.numpy().tobytes() for row in rest} & {row.numpy().tobytes() for row in pixels[0]}


def small(labels: list[int]) -> Task:
    images = np.random.default_rng(0).integers(0, 255, (len(labels), 8, 8), dtype=np.uint8)
    held = (images[:2], np.array([0, 1]))
    return task_from_arrays("s", ["a", "b"], train=(images, np.array(labels)), validation=held, test=held)


def test_too_few_images_to_tune_on_are_an_error_before_training(tmp_path):
    trainer = Trainer(small([0, 1] * 30), image_size=32, device="cpu")
    with pytest.raises(TaskError, match=r"at least 16 to tune on.*found 60 training images, 12 of them"):
        trainer.require_tuning_images()
    with pytest.raises(TaskError, match="self_tuning=False"):
        run(trainer, tmp_path, (1,))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TaskError, match="1 classes of a single one"):
        TuningFeeds(small([0] * 99 + [1]))
    Trainer(small([0, 1] * 40), image_size=32, device="cpu").require_tuning_images()


def test_a_space_may_ask_for_it_and_old_recipes_stay_what_they_were():
    asked = ConfigurationSpace()
    asked.add(Categorical("self_tuning", [False, True]))
    found = {Recipe.from_hyperparameters(values).self_tuning for values in Space(asked).sample(20, seed=0)}
    assert found == {False, True}
    assert "self_tuning" not in Space().default()
    assert "self_tuning" not in Recipe().hyperparameters()
    assert Recipe(self_tuning=True).hyperparameters()["self_tuning"] is True
    with pytest.raises(SpaceError, match="'self_tuning' must be True or False, found 1"):
        Recipe.from_hyperparameters({"self_tuning": 1})
