"""The training state and its format on the disk."""
