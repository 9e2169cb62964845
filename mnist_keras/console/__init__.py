"""What the terminal shows, and how TensorFlow is started."""
