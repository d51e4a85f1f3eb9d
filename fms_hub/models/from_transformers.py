"""The one door to transformers: image classifiers from a checkpoint folder (an optional extra)."""

from __future__ import annotations

import copy
import inspect
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForImageClassification, PretrainedConfig, PreTrainedModel
from transformers.utils import logging

from fms_hub.errors import CandidateError
from fms_hub.models import preprocessing
from fms_hub.models.folder import PREPROCESSOR, CheckpointFolder, read_json
from fms_hub.models.model import (
    HeadDropout,
    Model,
    Request,
    copy_backbone,
    require_fit,
    require_logits,
    summary,
)
from fms_hub.models.tensors import LocalTensors
from fms_hub.seeding import seeded_on_cpu


class Logits(nn.Module):
    """A transformers classifier that maps images (B, 3, H, W) to logits (B, classes).

    Args:
        network: the classifier.
        resize_positions: whether its position table is interpolated to the size of the images.
    """

    def __init__(self, network: PreTrainedModel, resize_positions: bool) -> None:
        super().__init__()
        self.network = network
        self._options = {"interpolate_pos_encoding": True} if resize_positions else {}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) for images (B, 3, H, W)."""
        logits: Tensor = self.network(pixel_values=images, **self._options).logits
        return logits


def build(opened: CheckpointFolder, request: Request) -> Model:
    """A transformers network with a new head; its backbone is filled where weights are asked for.

    Dropout acts in front of the head, as timm's does, so that the hyperparameter means the same for both.

    Raises:
        CandidateError: no image classifier of this type, weights that do not fit, or an impossible size.
    """
    config = _config(opened)
    head = _head_names(config, request.classes)
    config.num_labels = request.classes
    with seeded_on_cpu(request.seed), _quiet():
        network = _from_config(config)
        if request.weights:
            copy_backbone(_pretrained(opened, request.name, head).state_dict(), network, head, request.name)
    _add_dropout(network, head, request.dropout)
    model = _wrapped(network.train(), opened, request.image_size)
    require_logits(model.module, request.name, request.classes, model.input.size)
    return model


def skeleton(opened: CheckpointFolder, image_size: int | None) -> Model:
    """A transformers network on the meta device, under the head that its config names.

    Raises:
        CandidateError: no image classifier of this type.
    """
    with torch.device("meta"), _quiet():
        network = _from_config(_config(opened))
    return _wrapped(network, opened, image_size)


def original(opened: CheckpointFolder, name: str, image_size: int | None, *, weights: bool) -> Model:
    """A transformers network as it was published, under its own head.

    Raises:
        CandidateError: no image classifier of this type, or the weights do not fit.
    """
    with _quiet():
        network = _pretrained(opened, name, frozenset()) if weights else _from_config(_config(opened))
    return _wrapped(network, opened, image_size)


def heads(module: nn.Module) -> tuple[nn.Module, ...]:
    """The layers of a network of this door whose shape follows the number of classes."""
    assert isinstance(module, Logits)
    config = copy.deepcopy(module.network.config)
    owners = dict.fromkeys(key.rpartition(".")[0] for key in sorted(_head_names(config, config.num_labels)))
    return tuple(module.network.get_submodule(owner) for owner in owners)


def has_head(opened: CheckpointFolder) -> bool:
    """Whether the files hold a classification head, not the backbone alone; only their lists are read.

    Raises:
        CandidateError: no image classifier of this type, or a file that is no safetensors.
    """
    config = _config(opened)
    with LocalTensors(opened.files, "cpu") as tensors:
        return _head_names(config, config.num_labels) <= tensors.layout.keys()


def require_classifier(opened: CheckpointFolder) -> None:
    """See that transformers has an image classifier for the checkpoint, without loading it.

    Raises:
        CandidateError: it has none.
    """
    _head_names(_config(opened), 2)


def write_folder(model: Model, classes: tuple[str, ...], target: Path) -> None:
    """Write a network of `build` in transformers' layout, with its image preprocessing."""
    assert isinstance(model.module, Logits)
    network = model.module.network
    network.config.id2label = dict(enumerate(classes))
    network.config.label2id = {name: index for index, name in enumerate(classes)}
    with _quiet():
        network.save_pretrained(target)
    (target / PREPROCESSOR).write_text(
        json.dumps(preprocessing.write(model.input), indent=2), encoding="utf-8"
    )


def _config(opened: CheckpointFolder) -> PretrainedConfig:
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(opened.path, local_files_only=True)
        return config
    except (ValueError, KeyError, OSError) as error:
        raise CandidateError(
            f"transformers cannot read the config of {opened.path}: {summary(error)}"
        ) from error


def _preprocessor(path: Path) -> dict[str, object]:
    return read_json(path / PREPROCESSOR) if (path / PREPROCESSOR).is_file() else {}


def _from_config(config: PretrainedConfig) -> PreTrainedModel:
    try:
        network: PreTrainedModel = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
    except (ValueError, ImportError) as error:
        raise CandidateError(
            f"transformers has no image classifier for model type {config.model_type!r}: {summary(error)}"
        ) from error
    return network


def _head_names(config: PretrainedConfig, classes: int) -> frozenset[str]:
    """State dict keys whose shape follows the number of classes, seen on two networks without storage."""
    shapes = []
    for count in (classes, classes + 1):
        config.num_labels = count
        with torch.device("meta"):
            shapes.append({key: value.shape for key, value in _from_config(config).state_dict().items()})
    return frozenset(key for key, shape in shapes[0].items() if shapes[1][key] != shape)


def _pretrained(opened: CheckpointFolder, name: str, head: frozenset[str]) -> PreTrainedModel:
    """The checkpoint under its own head, every backbone tensor from the files."""
    network: PreTrainedModel
    try:
        network, report = AutoModelForImageClassification.from_pretrained(
            opened.path,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise CandidateError(f"{name}: the weights do not fit. {summary(error, lines=8)}") from error
    require_fit({"absent": set(report["missing_keys"]) - head}, name)
    return network


def _add_dropout(network: nn.Module, head: frozenset[str], probability: float) -> None:
    if probability > 0:
        for owner in sorted({key.rpartition(".")[0] for key in head}):
            network.get_submodule(owner).register_forward_pre_hook(HeadDropout(probability))


def _takes_positions(network: PreTrainedModel) -> bool:
    return "interpolate_pos_encoding" in inspect.signature(network.forward).parameters


def _wrapped(network: PreTrainedModel, opened: CheckpointFolder, image_size: int | None) -> Model:
    spec = preprocessing.read(_preprocessor(opened.path), opened.config, image_size)
    resized = _takes_positions(network) and spec.size != opened.config.get("image_size")
    return Model(Logits(network, resized), spec)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence transformers' progress bars and load reports: what matters is checked and raised here."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
