"""How a user names the surrogate of a search."""

from __future__ import annotations

import os

from fms_hub.surrogate import pretrained
from fms_hub.surrogate.surrogate import Surrogate

SCRATCH = "scratch"
"""The name of a surrogate that learns from one search alone."""
Named = str | os.PathLike[str] | Surrogate | None


def resolve_surrogate(named: Named) -> Surrogate:
    """The surrogate that a name stands for.

    * ``None``: the bundled one if one comes with this release, else ``"scratch"``
    * ``"scratch"``: one that learns from the search alone
    * ``"bundled"``, ``"organisation/name[@revision]"``, a folder or a file: see `Surrogate.from_pretrained`
    * a `Surrogate`: itself

    Raises:
        UsageError, CheckpointError, HubError, StorageError: as in `Surrogate.from_pretrained`.
    """
    if isinstance(named, Surrogate):
        return named
    if named == SCRATCH or (named is None and not pretrained.has_bundled()):
        return Surrogate()
    return Surrogate.from_pretrained(pretrained.BUNDLED if named is None else named)
