"""Programs on each of Keras's backends, and their tests."""
