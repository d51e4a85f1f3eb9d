"""What a network is made of: parametric operations, joins and the dataflow between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from fms_hub.errors import CheckpointError

Kind = Literal[
    "input",  # the images
    "conv",  # convolution of any dimension, grouped and transposed ones included
    "linear",  # matrix product with a parameter
    "embedding",  # look-up of rows of a parameter
    "norm",  # batch, layer, group, RMS normalisation
    "scale",  # product with a parameter: layer scale, logit scale
    "shift",  # sum with a parameter: position embedding, attention bias
    "direct",  # any other use of a parameter: class token, mask token
    "add",  # from here on joins of several operations: no parameters of their own
    "mul",
    "matmul",  # products of activations: attention
    "cat",
    "mix",  # any other operation of several activations
    "output",
]
Role = Literal["matrix", "scale", "bias", "mean", "var"]
Rung = Literal["meta", "real", "modules"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
ROLES: Final[tuple[Role, ...]] = get_args(Role)
RUNGS: Final[tuple[Rung, ...]] = get_args(Rung)


@dataclass(frozen=True)
class Owned:
    """A named tensor that a node owns; every parameter belongs to at most one node.

    Attributes:
        name: as in ``module.named_parameters()`` or ``module.named_buffers()``.
        role: which sketch describes it: ``"matrix"`` (rows and columns are neurons), ``"scale"``
            and ``"bias"`` (one value per neuron), ``"mean"`` and ``"var"`` (running statistics).
        shape: as stored.
    """

    name: str
    role: Role
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Number of elements, >= 0."""
        product = 1
        for size in self.shape:
            product *= size
        return product


@dataclass(frozen=True)
class Node:
    """One parametric operation or join.

    Attributes:
        kind: what it does.
        tensors: what it owns, the largest first within a role; empty for joins.
        groups: groups of a convolution, else 1.
        flipped: the matrix is stored with inputs first (transposed convolution, ``x @ W``).
        fan_in, fan_out: inputs that reach one output neuron (taps included) and the number of
            output neurons; 0 for joins.
        depth: relative position on the longest path from input (0) to output (1).
    """

    kind: Kind
    tensors: tuple[Owned, ...] = ()
    groups: int = 1
    flipped: bool = False
    fan_in: int = 0
    fan_out: int = 0
    depth: float = 0.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the main tensor, ``()`` for joins."""
        return self.tensors[0].shape if self.tensors else ()

    @property
    def matrix(self) -> Owned | None:
        """The tensor whose rows and columns are neurons, if there is one."""
        return next((tensor for tensor in self.tensors if tensor.role == "matrix"), None)

    @property
    def parameters(self) -> int:
        """Number of trainable elements; running statistics do not count."""
        return sum(tensor.numel for tensor in self.tensors if tensor.role not in ("mean", "var"))

    @property
    def taps(self) -> int:
        """Spatial positions of a convolution's kernel, else 1."""
        taps = 1
        for size in self.shape[2:] if self.kind == "conv" else ():
            taps *= size
        return taps


@dataclass(frozen=True)
class Structure:
    """Nodes in the order in which a forward first meets them, and the edges between them.

    Attributes:
        nodes: the first is the input, the last the output.
        edges: (source, target) indices, sorted, without duplicates. Source < target, except where
            an operation is used again on what came after it (recurrence, shared layers).
        uncovered: parameters that no node owns because the forward does not use them, sorted.
        parameters, covered: number of elements of all parameters and of those owned by nodes.
        rung: how it was found: a forward on the meta device, a real one, or the module tree alone.
        reason: why the rungs before this one failed, empty for ``"meta"``.
    """

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]
    uncovered: tuple[str, ...]
    parameters: int
    covered: int
    rung: Rung
    reason: str = ""

    @property
    def tensors(self) -> tuple[Owned, ...]:
        """All tensors that nodes own, in node order."""
        return tuple(tensor for node in self.nodes for tensor in node.tensors)

    @property
    def head(self) -> int | None:
        """Index of the last matrix operation before the output (the classifier), if there is one."""
        before: dict[int, list[int]] = {}
        for source, target in self.edges:
            before.setdefault(target, []).append(source)
        seen: set[int] = set()
        found: set[int] = set()
        queue = [len(self.nodes) - 1]
        while queue:
            index = queue.pop()
            if index in seen:
                continue
            seen.add(index)
            if self.nodes[index].kind in ("conv", "linear"):
                found.add(index)
            else:
                queue += before.get(index, [])
        return max(found, default=None)

    def to_json(self) -> str:
        """The structure as one compact line that `from_json` reads back to an equal one."""
        nodes = [
            [
                n.kind,
                [[t.name, t.role, t.shape] for t in n.tensors],
                n.groups,
                n.flipped,
                n.fan_in,
                n.fan_out,
                n.depth,
            ]
            for n in self.nodes
        ]
        fields = {name: getattr(self, name) for name in _FIELDS if name != "nodes"}
        return json.dumps({"nodes": nodes, **fields}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Structure:
        """Read what `to_json` wrote.

        Raises:
            CheckpointError: the text is anything else.
        """
        try:
            raw = json.loads(text)
        except ValueError as error:
            raise _damaged(f"no JSON ({error})") from error
        _expect(isinstance(raw, dict) and sorted(raw) == sorted(_FIELDS), "keys")
        nodes = tuple(_node(node) for node in _list(raw["nodes"], "nodes"))
        edges = tuple(_edge(edge, len(nodes)) for edge in _list(raw["edges"], "edges"))
        uncovered = tuple(_text(name) for name in _list(raw["uncovered"], "uncovered"))
        _expect(len(nodes) >= 2 and raw["rung"] in RUNGS and isinstance(raw["reason"], str), "nodes or rung")
        counts = _naturals([raw["parameters"], raw["covered"]], "counts")
        return cls(nodes, edges, uncovered, counts[0], counts[1], raw["rung"], raw["reason"])


_FIELDS: Final = ("nodes", "edges", "uncovered", "parameters", "covered", "rung", "reason")


def _damaged(what: str) -> CheckpointError:
    return CheckpointError(
        f"expected the structure of a weight graph as this version writes it, found bad {what}; "
        "featurize the model again."
    )


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise _damaged(what)


def _list(raw: object, what: str) -> list[Any]:
    if not isinstance(raw, list):
        raise _damaged(what)
    return raw


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise _damaged("names")
    return raw


def _naturals(raw: Sequence[object], what: str) -> tuple[int, ...]:
    _expect(all(type(item) is int and item >= 0 for item in raw), what)
    return tuple(item for item in raw if isinstance(item, int))


def _edge(raw: object, nodes: int) -> tuple[int, int]:
    pair = _naturals(_list(raw, "edges"), "edges")
    _expect(len(pair) == 2 and max(pair) < nodes, "edges")
    return pair[0], pair[1]


def _node(raw: object) -> Node:
    fields = _list(raw, "nodes")
    _expect(len(fields) == 7 and fields[0] in KINDS and type(fields[3]) is bool, "nodes")
    _expect(type(fields[6]) is float and 0.0 <= fields[6] <= 1.0, "depth")
    groups, fan_in, fan_out = _naturals([fields[2], fields[4], fields[5]], "nodes")
    _expect(groups >= 1, "groups")
    tensors = tuple(_owned(tensor) for tensor in _list(fields[1], "tensors"))
    return Node(fields[0], tensors, groups, fields[3], fan_in, fan_out, fields[6])


def _owned(raw: object) -> Owned:
    fields = _list(raw, "tensors")
    _expect(len(fields) == 3 and fields[1] in ROLES, "tensors")
    return Owned(_text(fields[0]), fields[1], _naturals(_list(fields[2], "shapes"), "shapes"))
