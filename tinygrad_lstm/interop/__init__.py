"""Trained models of others: PyTorch's files without PyTorch."""

from .torch_files import load_torch, save_torch

__all__ = ["load_torch", "save_torch"]
