"""Finds out what `fms_hub.search.known` holds: from files, from a sample of the images, or by probing."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from fms_hub.errors import BudgetError, UsageError
from fms_hub.finetune.embedding import task_embedding
from fms_hub.finetune.features import sample, sample_features
from fms_hub.finetune.trainer import Trainer
from fms_hub.models.pedigree import pedigree
from fms_hub.records import Budget, Candidate, Probe
from fms_hub.search.known import Known, Vector, metadata_vector
from fms_hub.search.spending import PASSES, probing_epochs
from fms_hub.surrogate.probes import probe_scores
from fms_hub.surrogate.surrogate import Surrogate
from fms_hub.tasks.embedding import EMBEDDING
from fms_hub.weights.graph import WeightGraph


def inquire(
    surrogate: Surrogate,
    candidates: Sequence[Candidate],
    graphs: Mapping[str, WeightGraph],
    trainer: Trainer,
) -> Known:
    """What a meta-trained surrogate can use without probing; nothing for one that is not.

    Args:
        surrogate: that will be asked.
        candidates, graphs, trainer: of the search.

    Raises:
        CandidateError: a candidate's config cannot be read.
    """
    if surrogate.learned is None:
        return Known()
    embedding = task_embedding(trainer.task, seed=trainer.seed)
    return Known(
        np.array([embedding[name] for name in EMBEDDING]),
        {candidate.name: _metadata(candidate, graphs) for candidate in candidates},
    )


def probe_candidate(candidate: Candidate, trainer: Trainer) -> Probe:
    """Probe a candidate as it is before fine-tuning, on the sample of training images that all are shown.

    Raises:
        CandidateError: its features cannot be read.
        HubError: its weights could not be fetched.
    """
    start = time.perf_counter()
    found = sample_features(
        candidate,
        trainer.task,
        image_size=trainer.image_size,
        seed=trainer.seed,
        device=trainer.device,
    )
    scores = probe_scores(found.values, found.labels, found.source_probabilities, seed=trainer.seed)
    return Probe(
        candidate.name,
        logme=scores.logme,
        h_score=scores.h_score,
        knn=scores.knn,
        linear=scores.linear,
        images=len(found.labels),
        seconds=time.perf_counter() - start,
    )


def require_taught(surrogate: Surrogate) -> None:
    """Whether probes are of use to a surrogate.

    Raises:
        UsageError: it does not know what they mean.
    """
    if surrogate.learned is None:
        raise UsageError(
            f"the surrogate {surrogate.name!r} learns from this search alone and cannot use probes; name a "
            "meta-trained one, or leave probe out."
        )


def require_probing(candidates: int, trainer: Trainer, budget: Budget, seconds: Mapping[str, float]) -> None:
    """Whether probing every candidate leaves something of the budget.

    Args:
        candidates: how many.
        trainer: of the search.
        budget: of the search.
        seconds: of one epoch of each candidate, as far as measured.

    Raises:
        BudgetError: nothing would be left.
    """
    images, per_epoch = len(sample(trainer.task, seed=trainer.seed)), trainer.task.info.sizes["train"]
    epochs = probing_epochs(candidates * images, per_epoch)
    time_needed = sum(seconds.values()) * images / (PASSES * per_epoch)
    if budget.epochs is not None and epochs >= budget.epochs:
        raise BudgetError(
            f"probing {candidates} candidates on {images} images costs {epochs} of {budget.epochs} epochs, "
            "which leaves nothing to train; give more, name fewer candidates, or leave probe out."
        )
    if budget.seconds is not None and time_needed >= budget.seconds:
        raise BudgetError(
            f"probing {candidates} candidates takes about {time_needed:.0f} s here, which leaves nothing of "
            f"a budget of {budget.seconds:g} s; give more, name fewer candidates, or leave probe out."
        )


def _metadata(candidate: Candidate, graphs: Mapping[str, WeightGraph]) -> Vector:
    found = pedigree(candidate)
    graph = graphs.get(candidate.name)
    return metadata_vector(
        None if graph is None else graph.structure.parameters,
        pretrained=found.pretrained,
        classes=found.classes,
        accuracy=found.accuracy,
    )
