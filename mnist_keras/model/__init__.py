"""The model whose step is open, and the train function that runs many steps in one call."""
