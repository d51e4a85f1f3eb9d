"""The structure while it grows: nodes and edges are added in the order in which a forward meets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fms_hub.weights.structure import Kind, Node, Owned, Role, Rung, Structure

MATRIX_KINDS: Final = ("conv", "linear", "embedding")
_BIASED_KINDS: Final = ("conv", "linear", "scale")


@dataclass
class Draft:
    """A node that may still gain tensors and sources."""

    kind: Kind
    sources: list[int]
    roles: dict[str, Role] = field(default_factory=dict)
    groups: int = 1
    flipped: bool = False


class DraftGraph:
    """Nodes and edges so far, with two promises kept: a parameter has one owner, and edges stay few.

    Args:
        shapes: shape by name of every parameter and buffer that may be owned.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.drafts = [Draft("input", [])]
        self._owner: dict[str, int] = {}
        self._joins: dict[tuple[Kind, frozenset[int]], int] = {}
        self._members: dict[int, frozenset[int]] = {}

    def parametric(
        self,
        kind: Kind,
        sources: Sequence[int],
        weights: Iterable[str],
        others: Mapping[str, Role],
        *,
        groups: int = 1,
        flipped: bool = False,
    ) -> int:
        """Index of the node that applies these parameters; one used before gets the new sources.

        Args:
            kind: what is done with them.
            sources: nodes whose output they are applied to.
            weights: names whose role follows from the kind and their shapes.
            others: names whose role is known from their place in the operation.
            groups: see `Node`.
            flipped: see `Node`.
        """
        roles = self._weight_roles(kind, [name for name in weights if name not in others]) | dict(others)
        known = list(dict.fromkeys(self._owner[name] for name in roles if name in self._owner))
        fresh: dict[str, Role] = {name: role for name, role in roles.items() if name not in self._owner}
        if not fresh:
            self._extend(known[0], [*sources, *known[1:]])
            return known[0]
        index = self._append(Draft(kind, list(dict.fromkeys(sources)), fresh, groups, flipped))
        self._owner.update(dict.fromkeys(fresh, index))
        return index

    def owners(self, names: Iterable[str]) -> list[int]:
        """Nodes that own these parameters, or none unless every one has its owner already."""
        known = [self._owner.get(name) for name in names]
        return [] if None in known else list(dict.fromkeys(index for index in known if index is not None))

    def absorb_bias(self, index: int, names: Sequence[str]) -> bool:
        """Give a bias that is added in an operation of its own to the node it belongs to, if it does."""
        draft = self.drafts[index]
        if draft.kind not in _BIASED_KINDS or any(name in self._owner or self.wide(name) for name in names):
            return False
        if {owner(name) for name in names} != {owner(name) for name in draft.roles}:
            return False
        draft.roles.update(dict.fromkeys(names, "bias"))
        self._owner.update(dict.fromkeys(names, index))
        return True

    def join(self, kind: Kind, sources: Sequence[int]) -> int:
        """Index of the join of these nodes; the same join of the same nodes is one node.

        A concatenation that extends an earlier one is fed by it: dense blocks then need a number
        of edges linear in their depth, not quadratic.
        """
        members = frozenset(sources)
        if (kind, members) in self._joins:
            return self._joins[kind, members]
        inputs = list(dict.fromkeys(sources))
        if kind == "cat" and len(members) > 2:
            inputs = self._extend_cat(inputs, members)
        index = self._append(Draft(kind, inputs))
        self._joins[kind, members] = index
        if kind == "cat":
            self._members[index] = members
        return index

    def finish(self, outputs: Iterable[int], parameters: Iterable[str], rung: Rung, reason: str) -> Structure:
        """The finished structure; without known outputs the last node is taken for the output's source.

        Args:
            outputs: nodes that made what the forward returned.
            parameters: names of all parameters, each once.
            rung: see `Structure`.
            reason: see `Structure`.
        """
        last = list(dict.fromkeys(outputs)) or [len(self.drafts) - 1]
        self._append(Draft("output", last))
        edges = tuple(sorted((s, target) for target, draft in enumerate(self.drafts) for s in draft.sources))
        levels = _levels(len(self.drafts), edges)
        nodes = tuple(
            self._node(d, level / max(levels)) for d, level in zip(self.drafts, levels, strict=True)
        )
        sizes = {name: Owned(name, "matrix", self.shapes[name]).numel for name in parameters}
        uncovered = tuple(sorted(name for name in sizes if name not in self._owner))
        total = sum(sizes.values())
        return Structure(
            nodes, edges, uncovered, total, total - sum(sizes[n] for n in uncovered), rung, reason
        )

    def wide(self, name: str) -> bool:
        """Whether a tensor has at least two axes with more than one entry."""
        return sum(size > 1 for size in self.shapes[name]) >= 2

    def _append(self, draft: Draft) -> int:
        self.drafts.append(draft)
        return len(self.drafts) - 1

    def _extend(self, index: int, sources: Iterable[int]) -> None:
        draft = self.drafts[index]
        draft.sources += [s for s in dict.fromkeys(sources) if s != index and s not in draft.sources]

    def _extend_cat(self, inputs: list[int], members: frozenset[int]) -> list[int]:
        parts = [(len(part), index) for index, part in self._members.items() if part < members]
        if not parts:
            return inputs
        _, largest = max(parts)
        return [largest, *(s for s in inputs if s not in self._members[largest])]

    def _weight_roles(self, kind: Kind, names: Sequence[str]) -> dict[str, Role]:
        largest = max(names, key=lambda name: Owned(name, "matrix", self.shapes[name]).numel, default=None)
        roles: dict[str, Role] = dict.fromkeys(names, "bias" if kind in ("shift", "direct") else "scale")
        if largest is not None and kind != "norm" and (kind in MATRIX_KINDS or self.wide(largest)):
            roles[largest] = "matrix"
        return roles

    def _node(self, draft: Draft, depth: float) -> Node:
        order = sorted(draft.roles.items(), key=lambda item: item[1] != "matrix")
        tensors = tuple(Owned(name, role, self.shapes[name]) for name, role in order)
        fan_in, fan_out = _fans(draft, tensors[0].shape) if tensors else (0, 0)
        return Node(draft.kind, tensors, draft.groups, draft.flipped, fan_in, fan_out, depth)


def owner(name: str) -> str:
    """Path of the module that a parameter belongs to."""
    return name.rpartition(".")[0]


def _fans(draft: Draft, shape: tuple[int, ...]) -> tuple[int, int]:
    if draft.kind not in MATRIX_KINDS or len(shape) < 2:
        return 1, (shape[-1] if draft.kind in MATRIX_KINDS else max(shape, default=1))
    if draft.kind == "embedding":
        return 1, shape[-1]
    taps = 1
    for size in shape[2:]:
        taps *= size
    if draft.flipped:
        return shape[0] // draft.groups * taps, shape[1] * draft.groups
    return shape[1] * taps, shape[0]


def _levels(nodes: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Longest path to each node over edges that lead forward; nodes without any start at 0."""
    levels = [0] * nodes
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        if source < target:
            levels[target] = max(levels[target], levels[source] + 1)
    return levels
