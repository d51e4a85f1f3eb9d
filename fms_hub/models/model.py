"""What the zoo hands out: a network with a fresh head, and how its images must be prepared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fms_hub.errors import CandidateError


@dataclass(frozen=True)
class InputSpec:
    """How images must be prepared for a network.

    Attributes:
        size: height and width in pixels, > 0.
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, divided by afterwards, > 0.
        interpolation: name of the resampling filter, e.g. ``"bicubic"``.
        crop: share of the shorter side that the centre crop keeps, in (0, 1] (timm's ``crop_pct``).
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    crop: float


@dataclass(frozen=True)
class Model:
    """A network ready to be fine-tuned.

    Attributes:
        module: maps images (B, 3, size, size) to logits (B, classes).
        input: how the images are prepared.
    """

    module: nn.Module
    input: InputSpec


@dataclass(frozen=True)
class Request:
    """What a candidate is to be built for.

    Attributes:
        name: the candidate's, for messages.
        classes: outputs of the new head.
        dropout: probability of dropping a feature in front of the head, in [0, 1).
        image_size: pixels; None means the candidate's own.
        seed: of the random initialisation.
        weights: whether the pretrained weights are loaded.
    """

    name: str
    classes: int
    dropout: float
    image_size: int | None
    seed: int
    weights: bool


def require_logits(module: nn.Module, name: str, classes: int, size: int) -> None:
    """Run one black image through the network and see that (1, classes) comes out.

    Raises:
        CandidateError: the forward pass fails at this size, or gives another shape.
    """
    logits = dry_run(module, name, size)
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != (1, classes):
        raise CandidateError(
            f"{name} must map images (B, 3, {size}, {size}) to logits (B, {classes}); one gave {found}. "
            "Wrap it in a module that returns the logits tensor."
        )


def dry_run(module: nn.Module, name: str, size: int) -> object:
    """What the network makes of one black image; its mode stays as it was.

    Raises:
        CandidateError: the forward pass fails at this size.
    """
    try:
        with evaluating(module):
            answer: object = module(torch.zeros(1, 3, size, size))
    except (
        RuntimeError,
        AssertionError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        AttributeError,
    ) as error:
        raise CandidateError(
            f"{name} cannot take images of {size} x {size} pixels: {summary(error)}. "
            "Leave image_size out to use its own size, or choose one that its architecture allows."
        ) from error
    return answer


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each part is in the mode that it was in before."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True


def require_fit(problems: Mapping[str, Iterable[str]], name: str) -> None:
    """Accept a set of weights only where no tensor gives a problem.

    Args:
        problems: tensor names by what is wrong with them.
        name: the candidate's, for the message.

    Raises:
        CandidateError: any tensor has a problem; it names up to 8 of each kind.
    """
    found = {kind: sorted(names) for kind, names in problems.items()}
    faults = [
        f"{kind}: {', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}"
        for kind, names in found.items()
        if names
    ]
    if faults:
        raise CandidateError(
            f"the weights of {name} do not fit its architecture ({'; '.join(faults)}). "
            "Check that config.json and the safetensors file belong together."
        )


def copy_backbone(state: Mapping[str, Tensor], module: nn.Module, head: frozenset[str], name: str) -> None:
    """Load `state` into `module`, strictly but for the tensors named in `head`, which keep their values.

    Raises:
        CandidateError: a tensor is absent, left over, of another shape, or not finite.
    """
    own = module.state_dict()
    backbone = {key: value for key, value in state.items() if key not in head}
    require_fit(
        {
            "absent": own.keys() - backbone.keys() - head,
            "left over": backbone.keys() - own.keys(),
            "of another shape": (k for k, v in backbone.items() if k in own and v.shape != own[k].shape),
            "not finite": (k for k, v in backbone.items() if not bool(v.isfinite().all())),
        },
        name,
    )
    module.load_state_dict(backbone, strict=False)


class HeadDropout:
    """Forward pre-hook that drops features in front of a head; the network's names and types stay.

    Args:
        probability: of dropping one feature, in [0, 1).
    """

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The head's inputs, the first of them with dropout while training."""
        features, *rest = inputs
        return (nn.functional.dropout(features, self.probability, module.training), *rest)


def summary(error: BaseException, lines: int = 1) -> str:
    """The error's type and the first lines of its message, in one line, for a message of ours."""
    text = [line.strip() for line in str(error).splitlines() if line.strip()]
    more = " ..." if len(text) > lines else ""
    return (
        f"{type(error).__name__}: {' '.join(text[:lines]).rstrip('.')}{more}"
        if text
        else type(error).__name__
    )
