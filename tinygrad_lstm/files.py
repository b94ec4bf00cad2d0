"""Files: named as a user names them, looked at before they are read, written whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ArgumentError, FileError, message


def path_of(call: str, path: Any, example: str, problem: str = "the path of the file comes first") -> Path:
    """The file meant, links followed: a link is kept and its target replaced. Raises ArgumentError with the example."""
    try:
        return Path(os.path.realpath(os.fspath(path)))
    except (TypeError, ValueError):
        raise ArgumentError(message(call, problem, {"path": path}, example)) from None


def check_readable(call: str, source: Path) -> None:
    """An ordinary file that is there, or a FileError."""
    if source.is_dir():
        raise FileError(message(call, f"{source} is a folder", remedy="name the file in it"))
    if not source.exists():
        raise FileError(message(call, f"{source}: there is no such file"))
    if not source.is_file():
        raise FileError(message(call, f"{source} is no ordinary file"))


def write_whole(
    call: str, target: Path, fill: Callable[[BinaryIO], Any], others: tuple[type[Exception], ...] = ()
) -> None:
    """Write to a temporary file beside the target, then onto the disk, then in its place, in one instant.

    If anything fails the old file is as it was, and none is left over. OSErrors, and the `others` that `fill` may raise,
    become a FileError with the reason.
    """
    expected: tuple[type[Exception], ...] = (OSError, *others)
    partial = target.with_name(f".{target.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(partial, "xb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                shutil.copymode(target, partial)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
        _sync_folder(target.parent)
    except expected as error:
        raise FileError(
            message(call, f"{target} could not be written: {reason(error)}", remedy=_why_not(target))
        ) from None


def reason(error: BaseException) -> str:
    """What the system, or else the exception, says."""
    return getattr(error, "strerror", None) or str(error)


def _sync_folder(folder: Path) -> None:
    """Make the new name itself survive a power cut, where the system can."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _why_not(target: Path) -> str:
    if target.is_dir():
        return "this is a folder: name a file in it"
    if not target.parent.is_dir():
        return f"there is no folder {target.parent}: make it first"
    return "the file that was there, if any, is unchanged"
