"""Many small networks at once, on a GPU or on a CPU: each as it would come out alone, within rounding.

The networks of one ensemble share a task, an optimiser, a batch size and the images of an epoch. Each draws
its weights, its order of images and its dropout from a generator of its own, in the order in which
`training.corpus.small_cnn.train_run` draws them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value, stack_module_state, vmap
from torch.nn import functional as F

from fms_hub.seeding import seeded
from training.corpus.plan import PlannedRun
from training.corpus.runlog import RunLog
from training.corpus.small_cnn import EPOCH_IMAGES, SKETCHED, GreyTask, keep, row_after
from training.corpus.small_net import FILTERS, SmallCNN, initialise
from training.corpus.updates import UPDATES, Parameters, Rates

_LAYERS = 3
_EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Form:
    """What the networks of one ensemble have in common."""

    task: str
    optimiser: str
    batch_size: int
    images: int
    horizon: int

    @classmethod
    def of(cls, run: PlannedRun, train_images: int) -> Form:
        """The form of a run on a task of so many training images."""
        values = run.hyperparameters
        images = min(_fraction(run, train_images), EPOCH_IMAGES)
        return cls(run.task, str(values["optimiser"]), int(values["batch_size"]), images, run.horizon)


@dataclass
class Member:
    """One network of an ensemble: where its random numbers come from, and what it leaves.

    Attributes:
        run: what is trained.
        net: freshly initialised; holds the weights of whatever checkpoint was sketched last.
        subset: its training images.
        generator: of orders and dropout.
        log: what is known of it so far.
        failed: whether it diverged.
    """

    run: PlannedRun
    net: SmallCNN
    subset: Tensor
    generator: torch.Generator
    log: RunLog = field(default_factory=RunLog)
    failed: bool = False

    @classmethod
    def of(cls, run: PlannedRun, task: GreyTask) -> Member:
        """Initialise the network of a run."""
        values = run.hyperparameters
        size = len(task.train[1])
        with seeded(int(run.id[:15], 16)):
            net = SmallCNN(task.classes, str(values["activation"]), float(values["dropout"]))
            initialise(net, str(values["initialisation"]), float(values["initial_scale"]))
            subset = torch.randperm(size)[: _fraction(run, size)]
            generator = torch.Generator().set_state(torch.get_rng_state())
        return cls(run, net, subset, generator)

    def epoch(self, images: int, batch_size: int) -> tuple[Tensor, Tensor]:
        """The order of the images (images,) of an epoch, and the channels' weights (3, images, 16) in it."""
        order = self.subset[torch.randperm(len(self.subset), generator=self.generator)[:images]]
        kept = 1 - self.net.dropout
        masks = torch.ones(_LAYERS, images, FILTERS)
        for start in range(0, images, batch_size) if kept < 1 else ():
            for layer in range(_LAYERS):
                batch = masks[layer, start : start + batch_size]
                drawn = torch.empty(batch.shape).bernoulli_(kept, generator=self.generator)
                batch.copy_(drawn / kept)
        return order, masks


def train_together(
    runs: Sequence[PlannedRun], task: GreyTask, *, device: str, keep_raw: Callable[[PlannedRun], bool]
) -> list[RunLog]:
    """Train runs of one form from their initialisations to their horizon, or until they diverge.

    Args:
        runs: at least one, all of the same `Form`.
        task: of all of them.
        device: where they are trained.
        keep_raw: whether a run's weights are kept.

    Raises:
        ValueError: the runs are of several forms.
    """
    forms = {Form.of(run, len(task.train[1])) for run in runs}
    if len(forms) != 1:
        raise ValueError(f"an ensemble has one form, found {len(forms)}: {sorted(map(str, forms))[:2]}.")
    members = [Member.of(run, task) for run in runs]
    with _whole_floats():
        ensemble = _Ensemble(members, forms.pop(), _on(task, torch.device(device)))
        for epoch in range(ensemble.form.horizon + 1):
            losses = None if epoch == 0 else ensemble.train()
            ensemble.note(epoch, losses, keep_raw)
    return [member.log for member in members]


class _Ensemble:
    """The members' parameters, each with the members as the first dimension, and their optimiser."""

    def __init__(self, members: Sequence[Member], form: Form, task: GreyTask) -> None:
        self.form = form
        self._members = members
        self._task = task
        self._device = task.train[0].device
        stacked, _ = stack_module_state([member.net.to(self._device) for member in members])
        self._parameters: Parameters = {name: value.detach() for name, value in stacked.items()}
        values = [member.run.hyperparameters for member in members]
        self._tanh = torch.tensor([v["activation"] == "tanh" for v in values], device=self._device)
        rates = Rates(
            torch.tensor([float(v["learning_rate"]) for v in values], device=self._device),
            torch.tensor([float(v["weight_decay"]) for v in values], device=self._device),
        )
        self._update = UPDATES[form.optimiser](self._parameters, rates)
        self._step = vmap(grad_and_value(_loss), in_dims=(0, 0, 0, 1, 0))

    def train(self) -> list[float]:
        """One epoch; mean loss of each member."""
        images, labels = self._task.train
        total = torch.zeros(len(self._members), device=self._device)
        for batch, masks in self._batches():
            gradients, losses = self._step(self._parameters, images[batch], labels[batch], masks, self._tanh)
            self._update(gradients)
            total += losses * batch.shape[1]
        return [float(value) for value in (total / self.form.images).cpu()]

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions (members, B), and weights of channels (3, members, B, 16, 1, 1)."""
        drawn = [member.epoch(self.form.images, self.form.batch_size) for member in self._members]
        orders = torch.stack([order for order, _ in drawn]).to(self._device)
        masks = torch.stack([mask for _, mask in drawn], 1).to(self._device)[..., None, None]
        size = self.form.batch_size
        return zip(torch.split(orders, size, 1), torch.split(masks, size, 2), strict=True)

    def note(self, epoch: int, losses: list[float] | None, keep_raw: Callable[[PlannedRun], bool]) -> None:
        """Add the rows and sketches of the members after an epoch."""
        finite = torch.stack([value.flatten(1).isfinite().all(1) for value in self._parameters.values()]).all(
            0
        )
        last = epoch == self.form.horizon
        validation = self._accuracies(self._task.validation)
        test = self._accuracies(self._task.test) if last else None
        weights = {name: value.cpu() for name, value in self._parameters.items()}
        device = torch.cuda.get_device_name(self._device) if self._device.type == "cuda" else "cpu"
        for i, member in enumerate(self._members):
            if member.failed:
                continue
            if not finite[i]:
                member.failed = True
                row = row_after(member.run, epoch, status="failed", reason="diverged", device=device)
                member.log.rows.append(row)
                continue
            loss = None if losses is None or not np.isfinite(losses[i]) else losses[i]
            row = row_after(member.run, epoch, train_loss=loss, validation_score=validation[i], device=device)
            if test is not None:
                row = replace(row, test_score=test[i])
            if epoch in SKETCHED or last:
                key = f"{member.run.id}/{epoch}"
                row = replace(row, sketch=key)
                state = {name: value[i] for name, value in weights.items()}
                net = member.net.cpu()
                net.load_state_dict(state)
                keep(member.log, key, net, raw=keep_raw(member.run))
            member.log.rows.append(row)

    def _accuracies(self, split: tuple[Tensor, Tensor]) -> list[float]:
        logits = vmap(_logits, in_dims=(0, None, None, 0))
        right = torch.zeros(len(self._members), device=self._device)
        masks = torch.ones(_LAYERS, device=self._device)
        with torch.no_grad():
            for images, labels in zip(*(torch.split(part, _EVALUATION_BATCH) for part in split), strict=True):
                right += (logits(self._parameters, images, masks, self._tanh).argmax(2) == labels).sum(1)
        return [float(value) for value in (right.double() / len(split[1])).cpu()]


def _loss(parameters: Parameters, images: Tensor, labels: Tensor, masks: Tensor, tanh: Tensor) -> Tensor:
    return F.cross_entropy(_logits(parameters, images, masks, tanh), labels)


def _logits(parameters: Parameters, images: Tensor, masks: Tensor, tanh: Tensor) -> Tensor:
    """`SmallCNN.forward` of one network, with its dropout drawn before."""
    x = images
    for layer in range(_LAYERS):
        weight, bias = parameters[f"convs.{layer}.weight"], parameters[f"convs.{layer}.bias"]
        x = F.conv2d(x, weight, bias, stride=2)
        x = torch.where(tanh, x.tanh(), x.relu()) * masks[layer]
    return F.linear(x.mean((2, 3)), parameters["head.weight"], parameters["head.bias"])


@contextmanager
def _whole_floats() -> Iterator[None]:
    """Convolve in float32, as on a CPU, and not in the shorter format that GPUs take by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _on(task: GreyTask, device: torch.device) -> GreyTask:
    train, validation, test = (
        (images.to(device), labels.to(device)) for images, labels in (task.train, task.validation, task.test)
    )
    return GreyTask(task.classes, train, validation, test)


def _fraction(run: PlannedRun, images: int) -> int:
    return max(int(images * float(run.hyperparameters["train_fraction"])), 1)
