"""One question per page; what pages share is in the modules with an underscore."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch; on a fresh server a page runs before app.py
