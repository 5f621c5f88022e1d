"""Parts of the Budget page."""
