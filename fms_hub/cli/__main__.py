"""`python -m fms_hub.cli`."""

from fms_hub.cli.app import main

main()
