"""From the weights of any torch model to a fixed-size, permutation-invariant description."""
