"""What models take here, measured or predicted, and in which engine."""
