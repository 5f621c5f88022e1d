"""`core.models.load` under its earlier name, for scripts that were written for that."""

from core.models.load import Loaded, load, load_model

__all__ = ["Loaded", "load", "load_model"]
