"""From a network to its weight graph, and from a new checkpoint of the same network to the next one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.sketch import sketch
from fms_hub.weights.trace import trace


def describe(module: nn.Module, input_size: tuple[int, int, int]) -> WeightGraph:
    """Describe a network's structure and weights; the network is neither run on its device nor changed.

    Args:
        module: any network with weights whose forward takes a batch of images.
        input_size: channels, height and width of its images.

    Returns:
        Its weight graph: the same for every numbering of its hidden neurons.

    Raises:
        CandidateError: not a module, or one without weights.
        CheckpointError: a weight is not finite; the message names its tensor.
    """
    structure = trace(module, input_size)
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    return WeightGraph.of(structure, sketch(structure, state))


def refresh(graph: WeightGraph, state: Mapping[str, Tensor]) -> WeightGraph:
    """Describe other weights of the same network, without looking at its structure again.

    Args:
        graph: what `describe` gave for the network.
        state: tensors by name as in the network's ``state_dict()``; others are ignored.

    Returns:
        A new graph; the given one is unchanged.

    Raises:
        CheckpointError: a tensor is missing, of another shape or not finite; the message names it.
    """
    return WeightGraph.of(graph.structure, sketch(graph.structure, state))
