"""Pictures: frozen results of core go in; a plotly Figure, a PIL image or a sentence comes out. Nothing is run.

viz.theme          every colour, hatch and number format
viz.tokens         photo with pruned patches, package chips, tokens per block
viz.architecture   the derived network, and the blocks x budgets diagram
viz.predictions    top-5 of two models side by side, and how far they agree
viz.cost           multiply-adds by part of the model, accuracy against cost
"""
