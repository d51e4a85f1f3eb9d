"""The benchmark of proposals by a flow network: exact check, feed-forward nets, live searches."""
