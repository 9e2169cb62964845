"""From a photo of handwriting to images like those of MNIST."""
