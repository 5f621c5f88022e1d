"""Gates scored behind a button."""
