"""The Trainer: one configuration, exactly one more epoch.

n = images, k = classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fms_hub.errors import UsageError
from fms_hub.finetune import checkpoint
from fms_hub.finetune.batches import Batch
from fms_hub.finetune.checkpoint import Checkpoint, RunState
from fms_hub.finetune.epoch import EpochPlan, Stage, probabilities, train_epoch
from fms_hub.finetune.failures import failures
from fms_hub.finetune.gallery import Feed, Gallery
from fms_hub.finetune.optimizer import build_optimizer, freeze
from fms_hub.finetune.outcome import Outcome, plain_epoch
from fms_hub.finetune.recipe import Recipe
from fms_hub.finetune.resuming import check_position, load_weights, read_previous, read_weights_of
from fms_hub.finetune.scores import metric_named
from fms_hub.finetune.self_tuning.feeds import TuningFeeds
from fms_hub.finetune.self_tuning.run import Feeds, added_bytes, tuned_epoch
from fms_hub.models.zoo import Model, build, layer_groups
from fms_hub.records import Candidate, Value
from fms_hub.seeding import derived_seed, seeded
from fms_hub.tasks.task import Images, Split, Task
from fms_hub.weights.describe import answers
from fms_hub.weights.responses import Responses


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        score: on the validation split, in [0, 1], higher is better.
        train_loss: mean over the epoch's images, nats, label smoothing included.
        seconds: wall-clock time of building, training and validating; writing the checkpoint is not in it.
        images: training images that the epoch saw.
        weights: the module's state dict after the epoch, on the CPU.
        responses: of the network with these weights; None where it cannot be run on synthetic images.
        tuned: where self-tuning has brought its hyperparameters, by name; empty without it.
    """

    score: float
    train_loss: float
    seconds: float
    images: int
    weights: Mapping[str, Tensor]
    responses: Responses | None
    tuned: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Network:
    """A built network on its device, with its stage."""

    module: nn.Module
    stage: Stage


class Trainer:
    """Fine-tunes candidates on one task.

    Args:
        task: the images.
        metric: a name in `fms_hub.finetune.scores.METRICS`.
        image_size: height and width in pixels; None leaves every candidate its own.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; None takes a GPU where there is one.
        seed: of new heads (and of candidates without weights) and, with run and epoch, of everything random.
        workers: processes that decode and transform; see `Gallery`.

    Raises:
        UsageError: the metric is unknown, the device is absent, or `workers` is negative.
    """

    def __init__(
        self,
        task: Task,
        *,
        metric: str = "accuracy",
        image_size: int | None = None,
        device: str | None = None,
        seed: int = 0,
        workers: int | None = None,
    ) -> None:
        self._metric = metric_named(metric)
        self.device = _device(device)
        self.task = task
        self.metric = metric
        self.image_size = image_size
        self.seed = seed
        self._gallery = Gallery(task, workers)
        self._workers = workers
        self._feeds: TuningFeeds | None = None
        self._warned: set[str] = set()

    def require_tuning_images(self) -> None:
        """See that self-tuning can cut its images off the training split.

        Raises:
            TaskError: there are too few.
        """
        self._tuning_feeds()

    def epoch(
        self,
        candidate: Candidate,
        hyperparameters: Mapping[str, Value],
        *,
        run: int,
        epoch: int,
        horizon: int,
        previous: Path | None,
        target: Path,
        forked: bool = False,
    ) -> EpochResult:
        """Train exactly one more epoch of a run, validate, and write its checkpoint.

        On the CPU it repeats bit for bit, in whatever process the epochs before were trained.

        Args:
            candidate: whose network, and for epoch 1 whose weights.
            hyperparameters: see `Recipe`; what is missing takes its default.
            run: number of the run, from 0; with the seed and the epoch it fixes everything random.
            epoch: the epoch to train, 1 .. horizon.
            horizon: epochs of the full run, where the learning rate reaches zero.
            previous: checkpoint of epoch - 1; None if and only if epoch is 1.
            target: checkpoint folder to write; an older one there is replaced, atomically.
            forked: whether `previous` is another run's of the same candidate, with other hyperparameters.

        Raises:
            SpaceError: a hyperparameter is unknown or out of range.
            TaskError: self-tuning has too few images to tune on.
            UsageError: `epoch`, `horizon` and `previous` do not fit together.
            CandidateError: the candidate cannot be built.
            CheckpointError: `previous` is damaged, or of another run.
            TrainingFailure: the epoch diverged or ran out of memory; nothing is written.
            StorageError: the checkpoint could not be written.
        """
        recipe = Recipe.from_hyperparameters(hyperparameters)
        check_position(epoch, horizon, previous)
        state = RunState(
            candidate.name, candidate.fingerprint, recipe.hyperparameters(), run, epoch, horizon, self.seed
        )
        before = None if previous is None else read_previous(previous, state, forked=forked)
        with seeded(derived_seed(self.seed, run, epoch)):
            result, after = self._train(candidate, recipe, state, before)
        checkpoint.write(target, after)
        return result

    def predict(
        self, candidate: Candidate, hyperparameters: Mapping[str, Value], checkpoint: Path, images: Images
    ) -> NDArray[np.float32]:
        """Class probabilities (n, k) of images, by the network of a checkpoint.

        Raises:
            CheckpointError: the checkpoint is damaged, or does not fit the candidate.
        """
        recipe = Recipe.from_hyperparameters(hyperparameters)
        return self._probabilities(candidate, recipe, checkpoint, _unlabelled(images))

    def test(self, candidate: Candidate, hyperparameters: Mapping[str, Value], checkpoint: Path) -> float:
        """Score of a checkpoint on the held-out test split, in [0, 1].

        Raises:
            CheckpointError: the checkpoint is damaged, or does not fit the candidate.
        """
        recipe = Recipe.from_hyperparameters(hyperparameters)
        found = self._probabilities(candidate, recipe, checkpoint, self.task.test)
        return self._metric(self.task.test.labels, found.argmax(axis=1))

    def load(self, candidate: Candidate, hyperparameters: Mapping[str, Value], folder: Path) -> Model:
        """The network of a checkpoint, on the CPU and in evaluation mode.

        Raises:
            CheckpointError: the checkpoint is damaged, or does not fit the candidate.
        """
        weights = read_weights_of(folder, candidate)
        model = self._model(candidate, Recipe.from_hyperparameters(hyperparameters), weights=False)
        load_weights(model.module, weights, candidate.name)
        model.module.eval()
        return model

    def estimate_seconds(self, candidate: Candidate) -> float:
        """Seconds that one epoch of default hyperparameters takes here, from two training steps.

        Decoding images for the first time and validating are not in it, so that it is a lower bound.
        """
        recipe = Recipe()
        network = self._build(candidate, recipe, weights=False)
        optimizer = build_optimizer(network.module, layer_groups(network.module), recipe)
        few = min(len(self.task.train.images), recipe.batch_size)
        spec = network.stage.spec
        batch = Batch(
            torch.zeros((few, 3, spec.size, spec.size), dtype=torch.uint8),
            torch.from_numpy(self.task.train.labels[:few]),
        )
        seconds = []
        with seeded(self.seed), failures(f"timing {candidate.name}"):
            for _ in range(2):
                started = time.perf_counter()
                train_epoch(
                    network.module,
                    optimizer,
                    Feed(1, iter([batch])),
                    network.stage,
                    EpochPlan(recipe, 1, 1, 0),
                )
                seconds.append(time.perf_counter() - started)
        return min(seconds) * len(self.task.train.images) / few

    def checkpoint_bytes(self, candidate: Candidate, hyperparameters: Mapping[str, Value]) -> int:
        """Size of one checkpoint on disk, in bytes, estimated without training."""
        recipe = Recipe.from_hyperparameters(hyperparameters)
        network = self._build(candidate, recipe, weights=False)
        module = network.module
        copies = 2 if recipe.optimizer == "adamw" else int(recipe.momentum > 0)
        trained: int = sum(p.nbytes for p in module.parameters() if p.requires_grad)
        weights: int = sum(value.nbytes for value in module.state_dict().values())
        added = added_bytes(module, network.stage, recipe, copies) if recipe.self_tuning else 0
        return weights + copies * trained + added

    def _train(
        self, candidate: Candidate, recipe: Recipe, state: RunState, before: Checkpoint | None
    ) -> tuple[EpochResult, Checkpoint]:
        started = time.perf_counter()
        seed = derived_seed(self.seed, state.run, state.epoch, "images")
        with failures(f"epoch {state.epoch} of run {state.run} ({candidate.name})"):
            network = self._build(candidate, recipe, weights=before is None)
            if before is not None:
                load_weights(network.module, before.weights, candidate.name)
            plan = EpochPlan(recipe, state.epoch, state.horizon, seed)
            resumed = before if before is not None and (before.optimizer or before.tuning) else None
            outcome = self._one_epoch(candidate.name, network, plan, resumed)
            module, trained, spec = outcome.module, outcome.trained, network.stage.spec
            score = self._validate(_Network(module, network.stage))
            weights = _cpu_state(module)
            responses = answers(module, (len(spec.mean), spec.size, spec.size))
            after = Checkpoint(weights, outcome.optimizer, state, outcome.tuning)
        seconds = time.perf_counter() - started
        result = EpochResult(score, trained.loss, seconds, trained.images, weights, responses, outcome.tuned)
        return result, after

    def _one_epoch(self, name: str, network: _Network, plan: EpochPlan, before: Checkpoint | None) -> Outcome:
        module, stage = network.module, network.stage
        if not plan.recipe.self_tuning:
            feed = self._gallery.training(stage.spec, plan.recipe, plan.seed)
            return plain_epoch(module, feed, stage, plan, before)
        images = self._tuning_feeds()
        feeds = Feeds(
            images.training(stage.spec, plan.recipe, plan.seed),
            images.tuning(stage.spec, plan.recipe, plan.seed),
        )
        known = name in self._warned
        self._warned.add(name)
        return tuned_epoch(module, feeds, stage, plan, before, quiet=known)

    def _tuning_feeds(self) -> TuningFeeds:
        if self._feeds is None:
            self._feeds = TuningFeeds(self.task, self._workers, seed=self.seed)
        return self._feeds

    def _validate(self, network: _Network) -> float:
        found = probabilities(network.module, self._gallery.validation(network.stage.spec), network.stage)
        if not np.isfinite(found).all():
            raise FloatingPointError("a prediction on the validation images is not finite")
        return self._metric(self.task.validation.labels, found.argmax(axis=1))

    def _probabilities(
        self, candidate: Candidate, recipe: Recipe, folder: Path, split: Split
    ) -> NDArray[np.float32]:
        weights = read_weights_of(folder, candidate)
        network = self._build(candidate, recipe, weights=False)
        load_weights(network.module, weights, candidate.name)
        feed = self._gallery.evaluation(split, network.stage.spec)
        return probabilities(network.module, feed, network.stage)

    def _model(self, candidate: Candidate, recipe: Recipe, *, weights: bool) -> Model:
        return build(
            candidate,
            classes=len(self.task.info.classes),
            dropout=0.0 if recipe.self_tuning else recipe.dropout,  # which then drops by itself
            image_size=self.image_size,
            seed=self.seed,
            weights=weights,
        )

    def _build(self, candidate: Candidate, recipe: Recipe, *, weights: bool) -> _Network:
        model = self._model(candidate, recipe, weights=weights)
        # A user's own module may flatten with .view(), which another layout forbids.
        layout = torch.contiguous_format if candidate.source == "module" else torch.channels_last
        freeze(model.module, layer_groups(model.module), recipe.frozen)
        module = model.module.to(self.device).to(memory_format=layout)
        return _Network(module, Stage(model.input, self.device, layout))


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"the device {name!r} cannot be used here: {error}. Try device='cpu'.") from error
    return device


def _cpu_state(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in module.state_dict().items()
    }


def _unlabelled(images: Images) -> Split:
    return Split(images, np.zeros(len(images), dtype=np.int64))
