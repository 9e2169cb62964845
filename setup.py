"""Metadata and dependencies."""

import pathlib
import re

from setuptools import find_packages, setup

HERE = pathlib.Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "mnist_keras/__init__.py").read_text())[1]
EXPORT = [
    "ai-edge-litert>=2",
    "onnx>=1.17",
    "onnxruntime>=1.20",
    # The first one for NumPy 2.
    "tf2onnx>=1.17",
]
MLFLOW = [
    # The client alone: 40 MB instead of 400.
    "mlflow-skinny>=3",
    # For stores in a database on this machine, such as sqlite:///mlflow.db.
    "alembic>=1.13",
    "sqlalchemy>=2",
]
WANDB = [
    # The first one whose login can be told not to ask on the terminal.
    "wandb>=0.31",
]
AIM = ["aim>=3.29"]
DOCS = ["furo>=2024.8", "sphinx>=8.1"]
EXAMPLES = [
    # The first one that ends connections on which no request comes.
    "aiohttp>=3.14.5,<4",
    "optuna>=4",
]

setup(
    name="mnist_keras",
    version=VERSION,
    description="A Keras trainer with its tape step in the open: true steps, exact resume.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=find_packages(include=["mnist_keras", "mnist_keras.*"]),
    package_data={"mnist_keras": ["py.typed", "app/report/*.jinja"]},
    python_requires=">=3.10",
    install_requires=[
        "absl-py>=2.1,<3",
        "google-crc32c>=1.5,<2",
        "h5py>=3.11",
        "jinja2>=3.1",
        # The train function needs what Keras keeps to itself and may move with a minor version;
        # 3.12 is the last one for Python 3.10.
        "keras>=3.12,<3.16",
        "numpy>=1.26",
        # Decodes HEIC and nothing else; pillow-heif has encoders under the GPL besides.
        "pi-heif>=0.18",
        "pillow>=10.1",
        "psutil>=5.9",
        "requests>=2.31",
        "rich>=13",
        "scipy>=1.11",
        # Earlier ones break with setuptools 82.
        "tensorboard>=2.21,<2.22",
        "tensorflow>=2.21,<2.22",
        "typing-extensions>=4.6",
    ],
    extras_require={
        "tests": [
            *DOCS,
            *EXPORT,
            *EXAMPLES,
            *MLFLOW,
            *WANDB,
            "hypothesis>=6.100",
            # The first one whose forbidden contracts take overlapping modules.
            "import-linter>=2.12",
            "ipykernel>=6.29",
            "matplotlib>=3.8",
            "mypy>=2,<3",
            "nbclient>=0.10",
            "pandas>=2.2",
            "pyte>=0.8,<1",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "pyyaml>=6",
            "ruff>=0.6",
            "selenium>=4.20",
            "types-protobuf",
            "types-psutil",
            "types-requests",
        ],
        "benchmarks": [
            "accelerate>=1.0",
            "grain>=0.2.10",
            "jax>=0.4.30",
            "lightning>=2.4",
            "matplotlib>=3.8",
            "optax>=0.2",
            "orbax-checkpoint>=0.11",
            "torch>=2.4",
            "torchdata>=0.11",
            "transformers>=4.46",
        ],
        "aim": AIM,
        "docs": DOCS,
        "examples": EXAMPLES,
        "export": EXPORT,
        "mlflow": MLFLOW,
        "wandb": WANDB,
    },
)
