"""Pictures: frozen results of core go in; a plotly Figure, a PIL image or a sentence comes out. Nothing is run.

viz.theme          every colour, hatch and number format
viz.tokens         photo with pruned patches, package chips
viz.player         the token player: its payload, and its parts for the browser
viz.blocks         tokens and multiply-adds of each block
viz.scores         what selectors and their heads thought, as heat maps
viz.token_tables   patches and packages as tables
viz.animation      all stages as a GIF or WebP
viz.architecture   the derived network, and the blocks x budgets diagram
viz.predictions    top-5 of two models side by side, and how far they agree
viz.cost           multiply-adds by part of the model, accuracy against cost
"""
