"""The corpus: logged fine-tuning runs with sketches of their checkpoints, in parquet shards."""
