"""Neuron axes of a network and message passing between its neurons; kept here until it pays."""
