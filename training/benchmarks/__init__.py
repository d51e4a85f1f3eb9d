"""One file a table; each prints it and writes JSON."""
