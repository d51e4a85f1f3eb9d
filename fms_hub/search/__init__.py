"""What to train next: the space, the acquisition, the loop, and what comes out of it."""
