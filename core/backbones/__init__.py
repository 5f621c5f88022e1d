"""What both methods need to know of each timm family: where its blocks, tokens and grid are."""
