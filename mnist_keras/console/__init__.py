"""Terminal output, and the start of TensorFlow."""
