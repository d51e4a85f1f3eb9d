"""The corpus' schema, version 2: one dataclass a table, and the Arrow types that follow from it."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Union, get_args, get_origin, get_type_hints

import pyarrow as pa

from fms_hub.tasks.embedding import EMBEDDING

SCHEMA_VERSION = 2
"""Rises whenever a column changes its meaning; new columns alone do not raise it."""

META_FEATURES = (
    "log_images", "log_classes", "log_images_per_class", "balance", "log_side", "log_aspect", "gray_fraction",
    "saturation", "colourfulness", "contrast", "luminance_entropy", "mean_red", "mean_green", "mean_blue",
    "edge_strength", "edge_density", "edge_horizontality", "std_red", "std_green", "std_blue",
    "brightness_spread",
)  # fmt: skip
"""Names of `TaskRow.features`: those of `fms_hub.tasks.features.meta_features`."""


class Fault(ValueError):
    """What is wrong with a shard or a table, in words."""


@dataclass(frozen=True)
class Row:
    """One run after one epoch. What else determines the run stands in its task's row.

    Attributes:
        run: id of the run, see `training.corpus.plan`.
        hub: ``"small-cnn"``, ``"timm-tiny"`` or where an outside log comes from.
        task, candidate: names, keys of the tables of tasks and candidates.
        hyperparameters: as JSON, keys sorted.
        epoch, horizon: 1 .. horizon, rising by one within a run; 0 is a network trained from scratch
            before its first step.
        seed: of the run.
        train_loss: mean over the epoch, nats; None if it failed or nothing was trained.
        validation_score, test_score: in the task's metric, in [0, 1]; the test score at the last epoch only.
        seconds: of the epoch where the run was alone on its cores, else None.
        device: class of the device, ``"cpu"`` or the GPU's name.
        status, reason: as in `fms_hub.records.Observation`.
        sketch: ``RUN/EPOCH`` where the shard has a sketch of the weights, or None.
    """

    run: str
    hub: str
    task: str
    candidate: str
    hyperparameters: str
    epoch: int
    horizon: int
    seed: int
    train_loss: float | None
    validation_score: float | None
    test_score: float | None
    seconds: float | None
    device: str
    status: str
    reason: str | None
    sketch: str | None


@dataclass(frozen=True)
class TaskRow:
    """A task of a hub: what a run needs besides its own row to be trained again.

    Attributes:
        hub, name: together the key; the name is that of the dataset file, ``NAME`` or ``NAME:DOMAIN``.
        group: tasks of one group may leak into each other and never stand on both sides of a split.
        classes: number of classes.
        images: most training images that were read, validation included where it is cut from them; None
            for the splits of the timm-tiny hub, see `training.corpus.tasks.read_task`.
        train, validation, test: images of each split.
        image_size: pixels; None left every candidate its own.
        metric: a name in `fms_hub.finetune.scores.METRICS`.
        fingerprint: sha256 over the images, labels and splits of seed 0; None of outside logs.
        features: meta-features by the names in `META_FEATURES`, of seed 0; None of outside logs.
        licence, source: of the data, as far as known.
    """

    hub: str
    name: str
    group: str
    classes: int
    images: int | None
    train: int | None
    validation: int | None
    test: int | None
    image_size: int | None
    metric: str
    fingerprint: str | None
    features: Mapping[str, float] | None
    licence: str
    source: str


@dataclass(frozen=True)
class CandidateRow:
    """A checkpoint that runs start from.

    Attributes:
        name: the key, see `fms_hub.records.Candidate`.
        architecture: timm architecture name or class name.
        family: timm module that defines the architecture.
        source: dataset it was pretrained on; ``"random"`` for a random initialisation.
        epochs: of pretraining; 0 for a random initialisation; None if unknown.
        accuracy: on held-out images of its source, in [0, 1]; None if unknown.
        parameters: number of parameters of the pretrained network, its head included; None if unknown.
        licence: of the source.
        research_only: whether the licence keeps it out of a package.
    """

    name: str
    architecture: str
    family: str
    source: str
    epochs: int | None
    accuracy: float | None
    parameters: int | None
    licence: str
    research_only: bool


@dataclass(frozen=True)
class ProbeRow:
    """Probes of a candidate that is not fine-tuned.

    The linear probe is a logistic regression on its features of the whole training split. The others see a
    sample of that split, see `fms_hub.surrogate.probes.ProbeScores`; tables from before they were measured
    lack their columns and read as None.

    Attributes:
        task, candidate: together the key.
        validation_score, test_score: of the linear probe, in the task's metric, in [0, 1].
        regularisation: the C of scikit-learn that was best on the validation split.
        features: number of features.
        logme: nats per image and class.
        h_score: at least 0, below the number of classes.
        knn: leave-one-out accuracy, in [0, 1].
        linear: held-out accuracy of a logistic regression on the sample, in [0, 1].
        leep, nce: nats, at most 0; None also of a candidate without a head of its own.
    """

    task: str
    candidate: str
    validation_score: float
    test_score: float
    regularisation: float
    features: int
    logme: float | None = None
    h_score: float | None = None
    knn: float | None = None
    linear: float | None = None
    leep: float | None = None
    nce: float | None = None


@dataclass(frozen=True)
class EmbeddingRow:
    """Where a task lies among others: a small encoder's response to a sample of its images.

    Attributes:
        task: the key.
        embedding: by the names in `fms_hub.tasks.embedding.EMBEDDING`.
    """

    task: str
    embedding: Mapping[str, float]


_NAMES = {"features": META_FEATURES, "embedding": EMBEDDING}
"""Of the numbers in columns of several."""
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_schema(kind: type) -> pa.Schema:
    """Names, types and nullability of a table whose rows are of this dataclass."""
    hints = get_type_hints(kind)
    return pa.schema([_arrow_field(field.name, hints[field.name]) for field in fields(kind)])


def _arrow_field(name: str, hint: Any) -> pa.Field:
    nullable = get_origin(hint) in (types.UnionType, Union)
    inner = next(part for part in get_args(hint) if part is not types.NoneType) if nullable else hint
    if get_origin(inner) is Mapping:
        return pa.field(name, pa.struct([(key, pa.float64()) for key in _NAMES[name]]), nullable)
    return pa.field(name, _ARROW[inner], nullable)


def to_table(rows: Sequence[Any], kind: type) -> pa.Table:
    """Rows of one dataclass as a table; NaN stays NaN and is not taken for null.

    Raises:
        Fault: a value does not fit its column.
    """
    try:
        return pa.Table.from_pylist([vars(row) for row in rows], schema=arrow_schema(kind))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise Fault(f"a value does not fit the schema of {kind.__name__}: {error}") from error
