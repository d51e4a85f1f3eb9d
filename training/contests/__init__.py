"""Live searches of several kinds over the same data, with the same seeds and budget."""
