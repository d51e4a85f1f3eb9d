"""How a network answers a few fixed synthetic images: what its weights compute, not only how they are spread.

No user's data are involved: the images are noise with the spectra of natural images, the same for all
networks. Every statistic is a symmetric function of what a module gives for one image, so it does not
change when neurons are renumbered.

N = images, M = values per image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from fms_hub.models.model import evaluating
from fms_hub.weights.structure import Node, Structure

Array = NDArray[np.float64]

IMAGES: Final = 16
_EXPONENTS: Final = (0.5, 1.0, 1.5, 2.0)
"""The amplitude of a frequency f is f ** -exponent; natural images are near 1."""
_CHROMA: Final = 0.3
"""Size of what differs between colour channels beside what they share."""
_TINY: Final = 1e-30
_CONSTANT: Final = 1e-5
"""Images whose answers differ by a smaller share of their energy are rounding apart: they count as equal."""
_FLOOR: Final = 1e-6
"""Smaller sizes are taken for it, so that a dead module is no outlier."""

_OUT: Final = (
    "out_log_rms",
    "out_mean",
    "out_on",
    "out_never_on",
    "out_always_on",
    "out_log_rank",
    "out_varying",
)
_IN: Final = ("in_log_rms", "in_mean", "in_log_kurtosis", "in_zero")
LOGIT_FEATURES: Final[tuple[str, ...]] = ("entropy", "consensus", "confidence", "responded")
RESPONSE_FEATURES: Final[tuple[str, ...]] = (*_OUT, *_IN, *LOGIT_FEATURES)
"""Names of the columns of `response_table`.

out_*: of what the module that owns a node's tensors gives: log of the root mean square; mean over RMS;
share of values > 0; share of places that are so for none or for all of the images; log of the
effective number of directions in which the images differ, at most log(IMAGES - 1); share of the energy
that differs between images. in_*: of what it is given: the same, log kurtosis, share of zeros.
entropy, consensus, confidence, in the output's row: mean entropy of the softmax and entropy of the
mean softmax over log(classes), mean of its largest value. responded: 1 where anything
was measured.
"""


@dataclass(frozen=True)
class Responses:
    """What the modules of one network answered.

    Attributes:
        modules: by path, (len(_OUT) + len(_IN),) each.
        logits: entropy, consensus and confidence; None where the network does not give logits.
    """

    modules: Mapping[str, Array]
    logits: Array | None


def synthetic_images(channels: int, height: int, width: int) -> Tensor:
    """The fixed images: float32 (IMAGES, channels, height, width), each of mean 0 and deviation 1."""
    rng = np.random.default_rng(0)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    radius[0, 0] = 1.0 / max(height, width)
    images = []
    for index in range(IMAGES):
        spectrum = radius ** -_EXPONENTS[index % len(_EXPONENTS)]
        shared, own = (_noise(rng, spectrum, number) for number in (1, channels))
        image = shared + (_CHROMA * own if channels > 1 else 0.0)
        images.append((image - image.mean()) / max(float(image.std()), _TINY))
    return torch.from_numpy(np.stack(images).astype(np.float32))


def respond(module: nn.Module, input_size: tuple[int, int, int]) -> Responses:
    """Run a network once on the synthetic images, in evaluation mode, where its weights are.

    Args:
        module: a network that takes a batch of normalised images; left as it was.
        input_size: channels, height and width.

    Raises:
        RuntimeError and what else a stranger's forward raises when it cannot be run.
    """
    parameter = next(module.parameters())
    images = synthetic_images(*input_size).to(parameter.device, parameter.dtype)
    found: dict[str, Tensor] = {}
    with torch.random.fork_rng(devices=()), evaluating(module), _watched(module, found):
        logits = _logits(module(images))
    modules = {path: _finite(row) for path, row in found.items()}
    return Responses(modules, None if logits is None else _finite(_output(logits)))


def response_table(structure: Structure, responses: Responses | None) -> Array:
    """Responses by node: (nodes, len(RESPONSE_FEATURES)), zeros where nothing was measured."""
    table = np.zeros((len(structure.nodes), len(RESPONSE_FEATURES)))
    if responses is None:
        return table
    for row, node in zip(table, structure.nodes, strict=True):
        found = responses.modules.get(_owner(node)) if node.tensors else None
        if found is not None:
            row[: len(found)] = found
            row[-1] = 1.0
    if responses.logits is not None:
        table[-1, len(_OUT) + len(_IN) : -1] = responses.logits
        table[-1, -1] = 1.0
    return table


def _owner(node: Node) -> str:
    return node.tensors[0].name.rpartition(".")[0]


def _noise(rng: np.random.Generator, spectrum: Array, channels: int) -> Array:
    white = rng.standard_normal((channels, *spectrum.shape))
    coloured: Array = np.fft.ifft2(np.fft.fft2(white) * spectrum).real
    scaled: Array = coloured / coloured.std()
    return scaled


@contextmanager
def _watched(module: nn.Module, found: dict[str, Tensor]) -> Iterator[None]:
    """Fill `found` at the first call of every module that owns parameters itself."""
    handles: list[RemovableHandle] = []
    for path, part in module.named_modules():
        if any(True for _ in part.parameters(recurse=False)):
            handles.append(part.register_forward_hook(_Watcher(path, found)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watcher:
    """A forward hook that keeps what it measures of one module under its path."""

    def __init__(self, path: str, found: dict[str, Tensor]) -> None:
        self._path = path
        self._found = found

    def __call__(self, _: nn.Module, given: tuple[object, ...], result: object) -> None:
        before, after = (_per_image(value) for value in (given[0] if given else None, result))
        if before is not None and after is not None and self._path not in self._found:
            self._found[self._path] = torch.stack([*_of_output(after), *_of_input(before)])


def _per_image(value: object) -> Tensor | None:
    """As (N, M) where the leading axis is made of images, windows of one image being neighbours."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 2:
        return None
    if value.shape[0] % IMAGES or value.numel() == 0:
        return None
    flat = value.reshape(IMAGES, -1)
    return flat if flat.dtype == torch.float64 else flat.float()


def _of_output(values: Tensor) -> list[Tensor]:
    gram = values @ values.T
    energy = gram.trace().clamp_min(_TINY)
    rms = (energy / values.numel()).sqrt()
    on = (values > 0).sum(0, dtype=torch.int32)
    centred = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    spread = centred.trace()
    spread = torch.where(spread > _CONSTANT * energy, spread, 0.0)
    rank = (spread.square() / centred.square().sum().clamp_min(_TINY)).clamp_min(1.0).log()
    return [
        rms.clamp_min(_FLOOR).log(),
        values.mean() / rms,
        on.to(values).mean() / IMAGES,
        (on == 0).to(values).mean(),
        (on == IMAGES).to(values).mean(),
        rank,
        spread / energy,
    ]


def _of_input(values: Tensor) -> list[Tensor]:
    square = values.square()
    mean = square.mean().clamp_min(_TINY)
    return [
        mean.sqrt().clamp_min(_FLOOR).log(),
        values.mean() / mean.sqrt(),
        (square.square().mean() / mean.square()).clamp_min(1.0).log(),
        (square == 0).to(values).mean(),
    ]


def _output(logits: Tensor) -> Tensor:
    each = logits.double().softmax(1)
    together = each.mean(0)
    size = torch.log(torch.tensor(max(each.shape[1], 2), dtype=torch.float64, device=each.device))
    entropy = torch.special.entr(each).sum(1).mean() / size
    return torch.stack([entropy, torch.special.entr(together).sum() / size, each.amax(1).mean()])


def _logits(result: object) -> Tensor | None:
    if isinstance(result, Mapping):
        result = result.get("logits")
    if isinstance(result, Tensor) and result.ndim == 2 and len(result) == IMAGES:
        return result
    return None


def _finite(row: Tensor) -> Array:
    values: Array = row.detach().cpu().double().numpy()
    return np.nan_to_num(values, nan=0.0, posinf=1e4, neginf=-1e4)
