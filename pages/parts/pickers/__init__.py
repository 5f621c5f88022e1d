"""Choosing a picture, a model, a file, many photos."""
