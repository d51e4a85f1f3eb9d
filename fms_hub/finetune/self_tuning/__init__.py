"""Self-Tuning Networks: regularisation that is tuned on held-out images while the weights are trained."""
