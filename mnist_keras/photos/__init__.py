"""From a photo of handwriting to images like MNIST's."""
