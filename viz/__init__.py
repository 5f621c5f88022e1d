"""Pictures: frozen results of core go in; a plotly Figure, a PIL image or a sentence comes out. Nothing is run.

viz.theme          every colour, hatch and number format
viz.tokens         photo with pruned patches, package chips, tokens per block
viz.architecture   what a budget leaves of the blocks, in words
viz.scrubber       the budget scrubber: network and diagram of all budgets, live (scrubber.js, scrubber.css)
viz.gates          gates of a block, and how they moved during the search
viz.kernels        the convolution inside an attention
viz.savings        both methods' sliders and the frontier of accuracy against cost, live (savings.js, savings.css)
viz.components     what those two share (dom.js, dom.css)
viz.predictions    top-5 of two models side by side, and how far they agree
viz.cost           multiply-adds by part of the model, and time in words
"""
