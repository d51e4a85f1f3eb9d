"""Moved to `fms_hub.corpus.schema`."""

from fms_hub.corpus.schema import *  # noqa: F403
