"""How Sphinx builds the API reference: ``python -m sphinx docs/api build/api``."""

import mnist_keras
from mnist_keras.console.start import import_tensorflow

import_tensorflow(quiet=True)

project = "mnist_keras"
author = "the authors of mnist_keras"
release = version = mnist_keras.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"mnist_keras {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["wide.css"]

# `Name` is a link, and one that leads nowhere is told of.
default_role = "any"
nitpicky = True
# Pages of other projects are not asked for, so that it builds without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!mnist_keras).*"),
    # Seen in signatures, and of use to the package alone.
    (r"py:class", r"mnist_keras\..*\.(EpochIterator|Limits|Source|StepRecord|Window)"),
]

autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # A hook without words of its own is Keras's.
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
maximum_signature_line_length = 90
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
