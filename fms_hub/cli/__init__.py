"""`fms-hub`, the command line: a module a command. Heavy imports wait until a command runs."""

from fms_hub.cli.app import main

__all__ = ["main"]
