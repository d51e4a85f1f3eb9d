"""Meta-training: from cached runs of many tasks to what a surrogate knows before a search begins."""
