"""The package `onnx`, which a plain install does not bring."""

from __future__ import annotations

from typing import Any

from ..errors import MissingExtra


def package(call: str) -> Any:
    """The module `onnx`, imported when it is first needed."""
    try:
        import onnx
        import onnx.checker
        import onnx.helper
        import onnx.numpy_helper
        import onnx.shape_inference
    except ImportError:
        raise MissingExtra("onnx", "onnx", f"tl.onnx.{call}") from None
    return onnx


NO_PATH = "takes the path of a file"  # what is said where it is none
