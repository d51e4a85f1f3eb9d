"""Logs of other programs, read into logbooks."""
