"""One question per page; what they are put together of is in `parts`, what all visitors share in `server`."""

import os

os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch; on a fresh server a page runs before app.py
