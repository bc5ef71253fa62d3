"""Assets that a training command makes, and what follows a training. How to train is in the room training."""
