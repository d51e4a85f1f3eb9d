"""Finds out what `fms_hub.search.known` holds: from files, from a sample of the images, or by probing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fms_hub.finetune.embedding import task_embedding
from fms_hub.finetune.features import sample_features
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.pedigree import pedigree
from fms_hub.records import Candidate
from fms_hub.search.known import Known, Vector, metadata_vector, probe_vector
from fms_hub.search.progress import counting_bar
from fms_hub.surrogate.probes import probe_scores
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.embedding import EMBEDDING
from fms_hub.weights.graph import WeightGraph


def inquire(
    surrogate: Surrogate,
    candidates: Sequence[Candidate],
    graphs: Mapping[str, WeightGraph],
    trainer: Trainer,
    *,
    probe: bool,
    progress: bool,
) -> Known:
    """What a meta-trained surrogate can use; nothing for one that is not.

    Args:
        surrogate: that will be asked.
        candidates, graphs, trainer: of the search.
        probe: whether candidates are probed on a sample of the training images.
        progress: draw a bar on standard error.

    Raises:
        CandidateError, HubError: a candidate's config or weights cannot be had.
    """
    if surrogate.learned is None:
        return Known()
    embedding = task_embedding(trainer.task, seed=trainer.seed)
    return Known(
        np.array([embedding[name] for name in EMBEDDING]),
        {candidate.name: _metadata(candidate, graphs) for candidate in candidates},
        probe_candidates(candidates, trainer, progress=progress) if probe else {},
    )


def probe_candidates(
    candidates: Sequence[Candidate], trainer: Trainer, *, progress: bool
) -> dict[str, Vector]:
    """Probe every candidate as it is before fine-tuning, on the same sample of training images.

    Returns:
        `fms_hub.search.known.probe_vector` by candidate.

    Raises:
        CandidateError: a candidate's features cannot be read.
        HubError: its weights could not be fetched.
    """
    bar = counting_bar("probing candidates", shown=progress)
    classes = len(trainer.task.info.classes)
    vectors = {}
    for number, candidate in enumerate(candidates, start=1):
        found = sample_features(
            candidate,
            trainer.task,
            image_size=trainer.image_size,
            seed=trainer.seed,
            device=trainer.device,
        )
        scores = probe_scores(found.values, found.labels, found.source_probabilities, seed=trainer.seed)
        vectors[candidate.name] = probe_vector(
            logme=scores.logme,
            h_score=scores.h_score,
            knn=scores.knn,
            linear=scores.linear,
            classes=classes,
        )
        bar(number, len(candidates))
    return vectors


def _metadata(candidate: Candidate, graphs: Mapping[str, WeightGraph]) -> Vector:
    found = pedigree(candidate)
    graph = graphs.get(candidate.name)
    return metadata_vector(
        None if graph is None else graph.structure.parameters,
        pretrained=found.pretrained,
        classes=found.classes,
        accuracy=found.accuracy,
    )
