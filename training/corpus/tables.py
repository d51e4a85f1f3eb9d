"""Moved to `fms_hub.corpus.tables`."""

from fms_hub.corpus.tables import *  # noqa: F403
