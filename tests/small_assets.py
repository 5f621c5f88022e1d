"""What tests open in place of the bundled models: small ones of earlier days, with their records and samples."""

from pathlib import Path

SMALL_ASSETS = Path(__file__).resolve().parent / "assets"
"""26 classes, 96 x 96 pixels, 12 blocks of width 128: quick to run, and trained well enough that answers differ."""
