"""What weights are worth: hubs as tables, predictors, learned encoders; for the benchmark of that name."""
