"""Trained models of others: PyTorch's files without PyTorch, Keras' files without Keras."""

from .keras_files import KerasWeights, load_keras
from .keras_layers import from_keras, to_keras
from .torch_files import load_torch, save_torch

__all__ = ["KerasWeights", "from_keras", "load_keras", "load_torch", "save_torch", "to_keras"]
