"""One photo: what a model did with it, and why."""
