"""Training: the loop and its parts. What to train, and for how long, is decided by recipes."""
