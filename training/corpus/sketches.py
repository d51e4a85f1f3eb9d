"""Moved to `fms_hub.corpus.sketches`."""

from fms_hub.corpus.sketches import *  # noqa: F403
