"""Zip archives of somebody else, read entry by entry and never unpacked: what torch.save and Keras write.

Both store numbers as they are. An entry that is compressed, and an archive whose entries overlap or share a name, was made
by neither and may be made to grow: it is refused, so no archive takes more memory than its own size.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import FileError, message

PIECE = 1 << 20
DAMAGE = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error, OSError, MemoryError)


class Archive:
    """The entries of a zip file by name; errors name the file and the entry."""

    def __init__(self, call: str, source: Path, file: BinaryIO):
        self.call, self.source = call, source
        try:
            self.zip = zipfile.ZipFile(file)
            entries = self.zip.infolist()
        except DAMAGE as error:
            raise self.refusal(f"is damaged or cut off ({error})") from None
        self.entries: dict[str, zipfile.ZipInfo] = {}
        for entry in entries:
            if entry.filename in self.entries:
                raise self.refusal(f"has two entries {entry.filename!r}")
            self.entries[entry.filename] = entry
        if sum(entry.file_size for entry in entries if _stored(entry)) > source.stat().st_size:
            raise self.refusal("its entries are together larger than the file: they overlap")

    def refusal(self, problem: str, remedy: str = "") -> FileError:
        """An error that names the file."""
        return FileError(message(self.call, f"{self.source}: {problem}", remedy=remedy))

    def read(self, name: str) -> np.ndarray:
        """The bytes of an entry, its checksum verified."""
        entry = self.entries[name]
        if not _stored(entry):
            raise self.refusal(
                f"the entry {name!r} is compressed, which neither torch.save nor Keras does",
                "somebody packed the file anew: ask for the one that was saved",
            )
        out = np.empty(entry.file_size, np.uint8)
        try:
            with self.zip.open(entry) as stream:
                for start in range(0, out.size, PIECE):
                    out[start : start + PIECE] = np.frombuffer(stream.read(PIECE), np.uint8)
        except DAMAGE as error:
            raise self.refusal(
                f"the entry {name!r} is damaged ({error})",
                "no checksums are in a file written after torch.serialization.set_crc32_options(False): save it again",
            ) from None
        return out


def _stored(entry: zipfile.ZipInfo) -> bool:
    return entry.compress_type == zipfile.ZIP_STORED and entry.file_size == entry.compress_size
