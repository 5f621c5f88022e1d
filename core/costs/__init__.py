"""Closed forms without torch: multiply-adds and parameters."""
