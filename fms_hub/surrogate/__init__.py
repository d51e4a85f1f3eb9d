"""The Gaussian process over hyperparameters, curves, fidelities and weights."""
