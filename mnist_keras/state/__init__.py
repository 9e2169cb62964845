"""The training state, and how it reaches the disk and comes back."""
