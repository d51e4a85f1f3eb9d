"""Operations of a forward with the labels of their arguments."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from training.weight_passing.shapes import (
    Dims,
    Hint,
    Label,
    collapse,
    fix_all,
    fixed,
)


@dataclass
class Labels:
    """Labels of the tensors met in one forward.

    Attributes:
        hints: results' dimensions that hold slots; see `shapes.reshape`.
        wanted: hints found in this forward.
        operation: number of the operation being followed.
    """

    hints: frozenset[Hint] = frozenset()
    wanted: set[Hint] = field(default_factory=set)
    operation: int = 0
    _known: dict[int, tuple[Tensor, Label]] = field(default_factory=dict)

    def set(self, tensor: Tensor, label: Label) -> None:
        """Label a tensor; it is kept alive."""
        self._known[id(tensor)] = tensor, label

    def raw(self, tensor: Tensor) -> Label:
        """A tensor's label, stacks included; constants are fixed."""
        known = self._known.get(id(tensor))
        return fixed(tensor.shape) if known is None else known[1]

    def __getitem__(self, tensor: Tensor) -> Dims:
        return collapse(self.raw(tensor))


@dataclass(frozen=True)
class Call:
    """One operation.

    Attributes:
        labels: of all tensors so far.
        values: arguments by name in the operation's schema, defaults included.
        tensors: all tensor arguments.
        results: all tensor results.
    """

    labels: Labels
    values: dict[str, Any]
    tensors: tuple[Tensor, ...]
    results: tuple[Tensor, ...]

    def dims(self, name: str) -> Dims:
        """Label of a tensor argument."""
        return self.labels[self.values[name]]

    @property
    def source(self) -> Tensor:
        """The first tensor argument."""
        return self.tensors[0]

    @property
    def label(self) -> Label:
        """Its label, stacks included."""
        return self.labels.raw(self.source)

    def axis(self, name: str = "dim") -> int:
        """An argument that counts dimensions of the first tensor."""
        return int(self.values[name]) % max(self.source.ndim, 1)


def opaque(call: Call) -> list[Label]:
    """Forbid every renumbering of what an operation without a rule touches."""
    for tensor in call.tensors:
        fix_all(call.labels.raw(tensor))
    return [fixed(result.shape) for result in call.results]


def all_tensors(values: object) -> tuple[Tensor, ...]:
    """Every tensor in nested arguments."""
    return tuple(leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
