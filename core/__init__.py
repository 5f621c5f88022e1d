"""Prunescope's core: two ways to prune a Vision Transformer, and what is needed to run, count and train them.

Axes, one letter each, used in every docstring and shape comment:

    B images   N patches   T tokens (prefix + patches + packages)   D width   H heads   F FFN hidden units
    L blocks   S stages (selectors)   C classes

The layer rule: data flows core -> viz -> pages -> app, and each imports only from its left. Core knows of no screen:
frozen configs go in (`core.config`), frozen results come out (`core.results`, `core.searched`, `core.timings`).

Where to start reading:

    core.checkpoints.load_model        a name or a path -> a model ready to run
    core.cards, core.weights           what a weights file of ours says of itself; reading and writing it
    core.releases, core.published      other people's files and architectures, with their semantics
    core.backbones                     base: the contract of a family; block: the one pre-norm block and its attention
    core.soft_tokens                   selector, package token, really removing tokens (arXiv:2112.13890)
    core.single_path                   gates, mixer, search form, budget -> Architecture (arXiv:2111.11802)
    core.geometry                      the contract of a geometry: blocks as shapes, and what is in none of them
    core.macs, core.params             what it costs, in closed form, one formula for every family
    core.latency, core.speed           what it takes, measured here
    core.latency_table                 foretells it for selectors; core.path_latency, core.curve_latency for the others
    core.engines, core.benchmarks      onnxruntime and torch.compile (core.huge_pages); what `make bench` records
    core.trace                         model + image -> TokenTrace; core.rivals: other choices at the same cost
    core.peers                         merging, fusing and dropping tokens of the dense model, at the same cost
    core.which_method                  all of these, untrained, at shares of a dense model's MACs, against its answers
    core.removal, core.trace_file      masked against removed tokens; a trace as JSON
    core.training                      the loop and the recipes behind `python -m core`
"""
