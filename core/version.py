"""Which Prunescope this is: `CHANGELOG.md` says what came with it."""

__version__ = "1.1.0"
"""In model cards, reports and benchmark rows as "prunescope"; files from before it was do without."""
