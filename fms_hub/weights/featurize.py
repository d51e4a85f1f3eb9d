"""From a candidate to its weight graph: structure without weights, values tensor by tensor, kept on disk."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fms_hub.errors import CandidateError, CheckpointError
from fms_hub.models import catalog, original
from fms_hub.models.tensors import Tensors
from fms_hub.records import Candidate
from fms_hub.weights import cache
from fms_hub.weights.columns import FEATURES
from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import check_layout, sketch_stream
from fms_hub.weights.structure import Structure
from fms_hub.weights.trace import trace


def featurize(
    candidate: str | Path | nn.Module | Candidate,
    *,
    device: str | torch.device | None = None,
    structure_only: bool = False,
    stream: bool = False,
    image_size: int | None = None,
) -> WeightGraph:
    """Describe a candidate's structure and weights, as it was published: under its own head.

    The structure is traced from a network without weights. Values are read from the safetensors files
    tensor by tensor, so that at most three copies of the largest are in memory at a time; the network is
    not run, so the columns of `fms_hub.weights.responses` are 0 here. Files whose
    tensors are named or shaped otherwise than in the network (which timm or transformers convert while
    loading) are loaded whole by their library, with a warning. What was found is kept below
    ``FMS_HUB_CACHE`` (see `fms_hub.weights.cache`); a user's own module and ``scratch:`` are not kept.

    Args:
        candidate: what `fms_hub.models.catalog.resolve` takes, naming one candidate.
        device: where sketches are computed; None means the CPU, or where a module's tensors are.
        structure_only: read no weights; columns that depend on them are 0.
        stream: read a Hub repository by ranged requests; no weights are left on this disk.
        image_size: pixels at which the network is traced; None means the candidate's own, 224 for a
            module that is not of timm.

    Returns:
        Its weight graph, the same for every numbering of its hidden neurons.

    Raises:
        CandidateError: not one candidate, unreadable, without weights, or one that is not finite (the
            message names the tensor); or it can only be loaded whole, and `stream` forbids that.
        HubError: the Hub refused, or cannot be reached and the files are not on this disk.
        StorageError: the cache cannot be written.
    """
    found = _only(candidate)
    if found.source == "module":
        return _of_module(found.module, found.name, device, structure_only, image_size)
    architecture = original.architecture_key(found, image_size)
    if structure_only or found.source == "scratch":
        structure = structure_of(found, architecture, image_size)
        if structure_only:
            return _without_weights(structure)
        random = original.load(found, image_size).module
        return _of_tensors(structure, _InMemory(random, device), found.name)
    path = _path(found, architecture)
    graph = cache.load_graph(path)
    if graph is None:
        if isinstance(candidate, Candidate):
            original.require_unchanged(found)
        graph = _read(found, structure_of(found, architecture, image_size), device, stream, image_size)
        cache.save_graph(path, graph)
    return graph


def is_kept(candidate: Candidate, image_size: int | None = None) -> bool:
    """Whether a candidate's graph is in the cache, so that `featurize` reads no weights of it.

    Raises:
        CandidateError, HubError: as in `featurize`.
    """
    if candidate.source in ("module", "scratch"):
        return False
    return _path(candidate, original.architecture_key(candidate, image_size)).is_file()


def _path(candidate: Candidate, architecture: str) -> Path:
    repo = "" if candidate.source == "folder" else candidate.location or ""
    return cache.graph_path(architecture, candidate.fingerprint, repo)


def structure_of(candidate: Candidate, architecture: str, image_size: int | None = None) -> Structure:
    """The structure of a candidate with a library's architecture, from the cache or traced now.

    Args:
        candidate: any but a user's own module.
        architecture: its `fms_hub.models.original.architecture_key`.
        image_size: pixels; None means the candidate's own.

    Raises:
        CandidateError, HubError: its config cannot be had, or its library cannot build it.
        StorageError: the cache cannot be written.
    """
    path = cache.structure_path(architecture)
    structure = cache.load_structure(path)
    if structure is None:
        structure = trace_candidate(candidate, image_size)
        cache.save_structure(path, structure)
    return structure


def trace_candidate(candidate: Candidate, image_size: int | None = None) -> Structure:
    """Trace a candidate's network on the meta device; where that fails, with random weights on the CPU.

    Raises:
        CandidateError, HubError: as in `structure_of`.
    """
    model = original.skeleton(candidate, image_size)
    size = (len(model.input.mean), model.input.size, model.input.size)
    structure = trace(model.module, size, disposable=True)
    if structure.rung == "meta":
        return structure
    model = original.load(candidate, image_size, weights=False)
    return trace(model.module, size)


def _only(candidate: object) -> Candidate:
    if not isinstance(candidate, (str, Path, nn.Module, Candidate)):
        raise CandidateError(
            "a model to featurize is a name, a folder, an nn.Module or a Candidate; "
            f"found {type(candidate).__name__}."
        )
    if isinstance(candidate, nn.Module):  # resolving one would hash its weights
        return Candidate(type(candidate).__name__, "module", type(candidate).__name__, module=candidate)
    found = catalog.resolve(candidate)
    if len(found) != 1:
        raise CandidateError(
            f"{candidate!r} names {len(found)} candidates, {found[0].name} and {found[1].name} among them; "
            "expected one. Call featurize for each."
        )
    return found[0]


class _InMemory:
    """Tensors of a network in memory, moved one by one."""

    def __init__(self, module: nn.Module, device: str | torch.device | None) -> None:
        self.layout = dict(module.named_parameters()) | dict(module.named_buffers())
        self._device = device
        if any(tensor.is_meta for tensor in self.layout.values()):
            raise CandidateError(
                f"{type(module).__name__} has no weights: its tensors are on the meta device. Load them."
            )

    def read(self, name: str) -> Tensor:
        tensor = self.layout[name].detach()
        return tensor if self._device is None else tensor.to(self._device)


class _Renamed:
    """The tensors in a candidate's files under the names that they have in its network."""

    def __init__(self, tensors: Tensors, candidate: Candidate, structure: Structure) -> None:
        prefix = original.prefix(candidate)
        names = {owned.name: owned.name.removeprefix(prefix) for owned in structure.tensors}
        self._tensors = tensors
        self._names = names
        self.layout = {ours: tensors.layout[n] for ours, n in names.items() if n in tensors.layout}

    def read(self, name: str) -> Tensor:
        return self._tensors.read(self._names[name])


def _read(
    candidate: Candidate,
    structure: Structure,
    device: str | torch.device | None,
    stream: bool,
    image_size: int | None,
) -> WeightGraph:
    with original.open_tensors(candidate, device=str(device or "cpu"), stream=stream) as tensors:
        renamed = _Renamed(tensors, candidate, structure)
        try:
            check_layout(structure, renamed.layout)
        except CheckpointError as misfit:
            why = str(misfit)
        else:
            return _of_tensors(structure, renamed, candidate.name)
    if stream and candidate.location is not None and candidate.source != "folder":
        raise CandidateError(
            f"{candidate.name} cannot be streamed, only loaded whole by its library: {why} "
            "Leave streaming out."
        )
    warnings.warn(f"{candidate.name} is loaded whole by its library: {why}", stacklevel=3)
    loaded = original.load(candidate, image_size).module
    return _of_tensors(structure, _InMemory(loaded, device), candidate.name)


def _of_module(
    module: nn.Module,
    name: str,
    device: str | torch.device | None,
    structure_only: bool,
    image_size: int | None,
) -> WeightGraph:
    structure = trace(module, original.module_input(module, image_size))
    if structure_only:
        return _without_weights(structure)
    return _of_tensors(structure, _InMemory(module, device), name)


def _of_tensors(structure: Structure, tensors: Tensors, name: str) -> WeightGraph:
    try:
        return WeightGraph.of(structure, sketch_stream(structure, tensors.layout, tensors.read))
    except CheckpointError as error:
        raise CandidateError(f"{name}: {error}") from error


def _without_weights(structure: Structure) -> WeightGraph:
    return WeightGraph.of(structure, np.zeros((len(structure.nodes), len(FEATURES)), np.float32))
