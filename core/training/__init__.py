"""Training on any ImageFolder: data, runs on disk, one loop, and a step per recipe (dense, tokens, search)."""
