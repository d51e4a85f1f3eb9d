"""A user's image dataset becomes a `Task`: verified, split, fingerprinted and described."""
