"""The corpus: logged runs with sketches as shards, and what a search gives back to them."""
