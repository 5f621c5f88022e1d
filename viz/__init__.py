"""Pictures: frozen results of core go in; a plotly Figure, a PIL image or a sentence comes out. Nothing is run.

viz.theme          every colour, hatch and number format
viz.tokens         photo with pruned patches, package chips
viz.player         the token player: its payload, and its parts for the browser
viz.blocks         tokens and multiply-adds of each block
viz.scores         what selectors and their heads thought, as heat maps
viz.token_tables   patches and packages as tables
viz.animation      all stages as a GIF or WebP
viz.architecture   what a budget leaves of the blocks, in words
viz.scrubber       the budget scrubber: network and diagram of all budgets, live (scrubber.js, scrubber.css)
viz.gates          gates of a block, how they moved during the search, and its convolution in words
viz.savings        both methods' sliders and the frontier of accuracy against cost, live (savings.js, savings.css)
viz.which_method   which method agrees most with a dense model at which budget (which_method.css)
viz.components     what the scrubber, the sliders and the player share (dom.js, dom.css)
viz.attribution    evidence maps of two models on one scale, and their difference
viz.thumbnails     the samples as small pictures on their buttons
viz.predictions    top-5 of two models side by side, and how far they agree
viz.cost           multiply-adds by part of the model, and time in words
"""
