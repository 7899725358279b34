"""Declares every environment variable that the worker reads. No other part of the worker reads the environment.

Each module here holds the settings of one subject, such as ``bucket.py``, and says how to add one. ``settings.py``
combines them, and ``readers.py`` turns texts of the environment into values.
"""

from worker.settings.hiding import take_settings
from worker.settings.settings import Settings, load_settings

__all__ = ["Settings", "load_settings", "take_settings"]
