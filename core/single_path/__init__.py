"""Single-path pruning: gates turn each attention into an attention, a convolution or nothing, and narrow each FFN.

He et al. 2021, arXiv:2111.11802. `gates` samples and nests, `mixer` reads the convolutions out of the attention's
own weights, `model` is the search form, `derive` turns gates and a budget into an Architecture, `compact` builds
plain layers from it, `method` is what the house asks of it.
"""
