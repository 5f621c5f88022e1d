"""Prunescope as an installed package: `prunescope.core` and the other folders of the repository, see setup.py.

In the repository itself, and in an editable install, those stand beside this folder, as `core` and so on.
"""

from core.version import __version__ as __version__
