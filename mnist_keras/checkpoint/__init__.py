"""What a training state is, and how it lies on the disk."""
