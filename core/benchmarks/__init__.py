"""Speed beside speed, measured in turns and recorded."""
