"""Instruments to see inside a network that runs: what every quantity is and receives, how far its memory reaches, and
where the first number stopped being one.

A cell's equations name everything (`f`, `c`, ...), so nothing here knows any cell.
"""

from .anomaly import detect_anomaly
from .memory import MemoryMap, memory_map
from .recording import Recording, record

__all__ = ["MemoryMap", "Recording", "detect_anomaly", "memory_map", "record"]
