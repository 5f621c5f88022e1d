"""Many photos: how often a model is right, and what it costs there."""
