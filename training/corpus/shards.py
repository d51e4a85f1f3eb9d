"""Moved to `fms_hub.corpus.shards`."""

from fms_hub.corpus.shards import *  # noqa: F403
