"""The main job: a character LSTM trained on a text that every machine has, judged, listened to, and looked into."""

from .job import FOLDER, Settings, run

__all__ = ["FOLDER", "Settings", "run"]
