"""The kinds of searches that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fms_hub.search.acquisition import DEFAULT_RULE, Rule
from fms_hub.search.generator import Proposals


@dataclass(frozen=True)
class Arm:
    """How a search proposes.

    Attributes:
        name: in tables and names of files.
        proposals, forking: as `fms_hub.select` has them.
        rule: what `fms_hub.select` calls acquisition.
    """

    name: str
    proposals: Proposals = "local"
    forking: bool = False
    rule: Rule = DEFAULT_RULE


LOCAL: Final = Arm("local")
GFLOWNET: Final = Arm("gflownet", proposals="gflownet")
FORKING: Final = Arm("forking", forking=True)
