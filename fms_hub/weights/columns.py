"""The columns of a sketch: their names, and the groups of them that a node has or lacks together."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Final

from fms_hub.weights.matrices import MATRIX_FEATURES
from fms_hub.weights.responses import LOGIT_FEATURES, RESPONSE_FEATURES
from fms_hub.weights.vectors import RUNNING_FEATURES, VECTOR_FEATURES

_NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "matrix": MATRIX_FEATURES,
    "scale": tuple(f"scale_{name}" for name in VECTOR_FEATURES),
    "bias": tuple(f"bias_{name}" for name in VECTOR_FEATURES),
    "running": tuple(f"running_{name}" for name in RUNNING_FEATURES),
    "module": RESPONSE_FEATURES[: -len(LOGIT_FEATURES)],
    "network": LOGIT_FEATURES[:-1],
    "responded": LOGIT_FEATURES[-1:],
}
"""By group: of tensors by their role, of running statistics, of the answers of a module and of the whole
network, and whether there are answers."""

FEATURES: Final[tuple[str, ...]] = tuple(name for names in _NAMES.values() for name in names)
"""Names of the columns; a node without such a tensor has zeros there, and those of the responses are zeros
where the network was not run (see `fms_hub.weights.describe`)."""

GROUPS: Final[Mapping[str, slice]] = {
    name: slice(*ends)
    for name, ends in zip(_NAMES, pairwise(accumulate(map(len, _NAMES.values()), initial=0)), strict=True)
}
"""The columns of each group."""
