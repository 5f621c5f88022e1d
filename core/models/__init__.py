"""Weights files: reading, describing, downloading, exporting them."""
