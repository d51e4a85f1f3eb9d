"""Moved to `fms_hub.corpus.manifest`."""

from fms_hub.corpus.manifest import *  # noqa: F403
