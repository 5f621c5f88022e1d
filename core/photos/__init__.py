"""One reader for photos, one walk over folders, one list."""
