"""`prunescope app` opens the app; any other `prunescope ...` is what `python -m core ...` is in the repository."""

import os
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import core


def main() -> None:
    """Run what the command line asks for; does not return."""
    if sys.argv[1:2] != ["app"]:
        runpy.run_module(core.__name__, run_name="__main__", alter_sys=True)
        return
    if find_spec("streamlit") is None:
        sys.exit('error: the app needs packages that are not here; `pip install "prunescope[app]"` gets them.')
    app = Path(core.__file__).parents[1] / "app.py"
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", str(app), *sys.argv[2:]])


if __name__ == "__main__":
    main()
