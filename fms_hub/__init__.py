"""Pick, fine-tune and hand back the best of many pretrained image models within a budget.

Names are loaded on first use, so that importing fms_hub imports neither torch nor timm.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fms_hub.corpus.contribute import contribute
    from fms_hub.errors import FMSHubError
    from fms_hub.records import Budget, Candidate, Observation, Proposal
    from fms_hub.search.recommend import recommend
    from fms_hub.search.sample_configurations import sample_configurations
    from fms_hub.search.select import select
    from fms_hub.search.selection import Selection
    from fms_hub.search.selector import Selector
    from fms_hub.surrogate.surrogate import Surrogate
    from fms_hub.weights.featurize import featurize

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "Candidate",
    "FMSHubError",
    "Observation",
    "Proposal",
    "Selection",
    "Selector",
    "Surrogate",
    "contribute",
    "featurize",
    "recommend",
    "sample_configurations",
    "select",
]

_HOME = {
    "Budget": "fms_hub.records",
    "Candidate": "fms_hub.records",
    "FMSHubError": "fms_hub.errors",
    "Observation": "fms_hub.records",
    "Proposal": "fms_hub.records",
    "Selection": "fms_hub.search.selection",
    "Selector": "fms_hub.search.selector",
    "Surrogate": "fms_hub.surrogate.surrogate",
    "contribute": "fms_hub.corpus.contribute",
    "featurize": "fms_hub.weights.featurize",
    "recommend": "fms_hub.search.recommend",
    "sample_configurations": "fms_hub.search.sample_configurations",
    "select": "fms_hub.search.select",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fms_hub' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
