"""From a network to its weight graph, and from a new checkpoint of the same network to the next one."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fms_hub.weights.graph import WeightGraph
from fms_hub.weights.responses import RESPONSE_FEATURES, Responses, respond, response_table
from fms_hub.weights.sketch import Sketch, sketch
from fms_hub.weights.structure import Structure
from fms_hub.weights.trace import FORWARD_ERRORS, trace


def describe(module: nn.Module, input_size: tuple[int, int, int]) -> WeightGraph:
    """Describe a network's structure, its weights and how it answers synthetic images; it is not changed.

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
    table = sketch(structure, state)
    return WeightGraph.of(structure, _answered(table, structure, answers(module, input_size)))


def answers(module: nn.Module, input_size: tuple[int, int, int]) -> Responses | None:
    """As `respond`; None where the network cannot be run on images of that size."""
    try:
        return respond(module, input_size)
    except FORWARD_ERRORS:
        return None


def refresh(
    graph: WeightGraph, state: Mapping[str, Tensor], responses: Responses | None = None
) -> WeightGraph:
    """Describe other weights of the same network, without looking at its structure again.

    Args:
        graph: what `describe` gave for the network.
        state: tensors by name as in the network's ``state_dict()``; others are ignored.
        responses: of the network with these weights; None leaves their columns 0.

    Returns:
        A new graph; the given one is unchanged.

    Raises:
        CheckpointError: a tensor is missing, of another shape or not finite; the message names it.
    """
    table = sketch(graph.structure, state)
    return WeightGraph.of(graph.structure, _answered(table, graph.structure, responses))


def _answered(table: Sketch, structure: Structure, responses: Responses | None) -> Sketch:
    table[:, -len(RESPONSE_FEATURES) :] = response_table(structure, responses)
    return table
