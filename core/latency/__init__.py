"""How long things take, on this machine, and what that predicts."""
