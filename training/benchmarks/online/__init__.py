"""The problems, the ways of training and the searches of the benchmark `self_tuning`."""
