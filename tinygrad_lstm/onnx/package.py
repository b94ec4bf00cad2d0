"""The package `onnx`, which a plain install does not bring, and files."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from ..errors import ArgumentError, FileError, MissingExtra, message


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


def path_of(call: str, path: Any) -> Path:
    """The file meant, links followed."""
    try:
        return Path(os.path.realpath(os.fspath(path)))
    except (TypeError, ValueError):
        raise ArgumentError(message(f"onnx.{call}", "takes the path of a file", {"path": path})) from None


def write_whole(target: Path, data: bytes) -> None:
    """To a temporary file beside the target, then onto the disk, then in its place."""
    partial = target.with_name(f".{target.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(partial, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        why = (
            "this is a folder: name a file in it"
            if target.is_dir()
            else "the file that was there, if any, is unchanged"
        )
        if not target.parent.is_dir():
            why = f"there is no folder {target.parent}: make it first"
        raise FileError(
            message("onnx.export", f"{target} could not be written: {error.strerror}", remedy=why)
        ) from None
